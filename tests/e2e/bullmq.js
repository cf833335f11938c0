// A queue of BullMQ with workers, delayed, failing and repeated jobs; prints what became of them. Argument: the port.
const { Queue, Worker, QueueEvents } = require('bullmq');
const connection = { host: "127.0.0.1", port: +process.argv[2] };
(async () => {
  const name = 'q' + Date.now();
  const q = new Queue(name, { connection });
  const ev = new QueueEvents(name, { connection });
  let done = 0, delayedAt = 0, repeats = 0; const t0 = Date.now();
  const w = new Worker(name, async job => {
    if (job.name === 'fail' && job.attemptsMade < 1) throw new Error('once');
    if (job.name === 'delayed') delayedAt = Date.now() - t0;
    if (job.name === 'tick') repeats++;
    done++; return { n: job.data.n };
  }, { connection, concurrency: 5 });
  w.on('error', e => console.log('worker error', e.message));
  await Promise.all([...Array(50).keys()].map(n => q.add('job', { n })));
  await q.addBulk([...Array(20).keys()].map(n => ({ name: 'bulk', data: { n } })));
  await q.add('delayed', { n: 1 }, { delay: 500 });
  await q.add('fail', { n: 2 }, { attempts: 3, backoff: 50 });
  await q.add('prio', { n: 3 }, { priority: 2 });
  await q.upsertJobScheduler('s1', { every: 200 }, { name: 'tick', data: {} });
  await new Promise(r => setTimeout(r, 4000));
  console.log(JSON.stringify({ done: done - repeats, delayedAt, repeats, counts: await q.getJobCounts() }));
  await w.close(); await ev.close(); await q.close(); process.exit(0);
})().catch(e => { console.log('ERR', e); process.exit(1); });
