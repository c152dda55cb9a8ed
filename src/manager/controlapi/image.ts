import { isKind } from '../../lib/errors.ts';
import { parseImageReference } from '../../model/image-reference.ts';
import { invalid } from './context.ts';

export function checkImage(image: string): void {
  if (!image) throw invalid('ContainerSpec: image reference must be provided');
  try {
    parseImageReference(image);
  } catch (error) {
    if (!isKind(error, 'invalid')) throw error;
    throw invalid(`ContainerSpec: ${JSON.stringify(image)} is not a valid repository/tag`);
  }
}
