/** The `tscluster` executable. */
const [, , ...argv] = process.argv;

// Not a verb for users: a small process beside the daemon, which must not load the whole client.
if (argv[0] === 'names') {
  const { runNames } = await import('../node/names-process.ts');
  await runNames(argv.slice(1));
} else {
  const [{ run }, { realWorld }] = await Promise.all([import('./run.ts'), import('./world.ts')]);
  process.exitCode = await run(argv, realWorld());
}

export {};
