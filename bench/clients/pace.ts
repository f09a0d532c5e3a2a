import { setTimeout as sleep } from "node:timers/promises";

/** Does something again and again at a fixed rate, whether or not what it did before has ended. */
export async function atRate(
  perSecond: number,
  seconds: number,
  act: (index: number) => void,
): Promise<void> {
  const start = performance.now();
  let done = 0;
  for (let passed = 0; passed < seconds; passed = (performance.now() - start) / 1000) {
    for (; done / perSecond <= passed; done += 1) {
      act(done);
    }
    await sleep(1);
  }
}
