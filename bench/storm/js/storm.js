// The PocketBase JS SDK as a peer: `node storm.js URL TOPICS`. Says how long it took until all were acknowledged, then
// stays, for its recovery to be watched.
import { EventSource } from "eventsource";
import PocketBase from "pocketbase";

global.EventSource = EventSource;

const [url, count] = process.argv.slice(2);
const pocketbase = new PocketBase(url);
const topics = Array.from({ length: Number(count) }, (_, number) => `posts/r${String(number).padStart(14, "0")}`);

const began = performance.now();
try {
  await Promise.all(topics.map((topic) => pocketbase.realtime.subscribe(topic, () => {})));
  console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000 }));
} catch (error) {
  console.log(JSON.stringify({ error: `${error.status}: ${error.response?.message || error.message}` }));
}
