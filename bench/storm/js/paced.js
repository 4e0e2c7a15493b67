// The PocketBase JS SDK as a receiver: `node paced.js URL EVENTS WORK`, where WORK is "untouched" or "latency". Prints what
// the events took, from the first to the last.
import { EventSource } from "eventsource";
import PocketBase from "pocketbase";

global.EventSource = EventSource;

const [url, events, work] = process.argv.slice(2);
const pocketbase = new PocketBase(url);
const latencies = [];
let seen = 0;
let began;

function take(event) {
  began ??= [performance.now(), process.cpuUsage()];
  // By the clock that all processes share.
  if (work === "latency") latencies.push(Number(process.hrtime.bigint() - BigInt(event.record.sent)) / 1e3);
  if (++seen < Number(events)) return;
  const { user, system } = process.cpuUsage(began[1]);
  latencies.sort((a, b) => a - b);
  const percentile = (part) => latencies[Math.floor((latencies.length - 1) * part)] ?? 0;
  const report = {
    events_per_s: (seen * 1e3) / (performance.now() - began[0]),
    cpu_us_per_event: (user + system) / seen,
    p50_us: percentile(0.5),
    p99_us: percentile(0.99),
  };
  console.log(JSON.stringify(report));
  process.exit(0);
}

await pocketbase.collection("posts").subscribe("*", take);
