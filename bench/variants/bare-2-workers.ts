// bare in two processes on one port: the floor of `ours-2-workers`.

const server = `${import.meta.dir}/bare.ts`;
const workers = [1, 2].map(() =>
  Bun.spawn([process.execPath, 'run', server], { stdio: ['ignore', 'inherit', 'inherit'] }),
);
process.on('SIGTERM', () => {
  for (const worker of workers) worker.kill('SIGTERM');
});
await Promise.all(workers.map(({ exited }) => exited));
