import fc from "fast-check";
import {
  type AlarmRule,
  type AlarmState,
  type Datapoints,
  evaluate,
  evaluationRange,
  reasonOf,
  ruleOf,
} from "../../local/region/alarms";

const treatments = ["missing", "ignore", "breaching", "notBreaching"] as const;
const states = ["OK", "ALARM", "INSUFFICIENT_DATA"] as const;

function rule(changed: Partial<AlarmRule> = {}): AlarmRule {
  return {
    period: 60,
    evaluationPeriods: 3,
    datapointsToAlarm: 3,
    comparison: "GreaterThanThreshold",
    threshold: 1,
    treatMissingData: "missing",
    ...changed,
  };
}

/** As the documentation writes them: 0 does not breach, X does, - is missing. */
function datapoints(text: string): Datapoints {
  return text.split(" ").map((each) => ({ "0": 0, X: 2, "-": undefined })[each]);
}

/** Each treatment's state, where "retain" is that of before, whatever it was. */
function evaluations(changed: Partial<AlarmRule>, text: string): string[] {
  return treatments.map((treatMissingData) => {
    const results = states.map((before) =>
      evaluate(rule({ ...changed, treatMissingData }), datapoints(text), before),
    );
    return String(results) === String(states) ? "retain" : [...new Set(results)].join();
  });
}

describe("the tables of CloudWatch's documentation", () => {
  const insufficient = "INSUFFICIENT_DATA";
  test.each([
    ["0 - X - X", ["OK", "OK", "OK", "OK"]],
    ["0 - - - -", ["OK", "OK", "OK", "OK"]],
    ["- - - - -", [insufficient, "retain", "ALARM", "OK"]],
    ["0 X X - X", ["ALARM", "ALARM", "ALARM", "ALARM"]],
    ["- - X - -", ["ALARM", "retain", "ALARM", "OK"]],
  ])("3 of 3: %s", (text, expected) => {
    expect(evaluations({}, text)).toEqual(expected);
  });

  test.each([
    ["0 - X - X", ["ALARM", "ALARM", "ALARM", "ALARM"]],
    ["0 0 X 0 X", ["ALARM", "ALARM", "ALARM", "ALARM"]],
    ["0 - X - -", ["OK", "OK", "ALARM", "OK"]],
    ["- - - - 0", ["OK", "OK", "ALARM", "OK"]],
    ["- - - X -", ["ALARM", "retain", "ALARM", "OK"]],
  ])("2 of 3: %s", (text, expected) => {
    expect(evaluations({ datapointsToAlarm: 2 }, text)).toEqual(expected);
  });

  test.each(["- - - - X", "- - - X -"])("3 of 3: %s is no alarm yet", (text) => {
    expect(evaluations({}, text)[0]).toBe("retain");
  });
});

describe("an alarm", () => {
  const value = fc.constantFrom(0, 2, undefined);
  const anyRule = fc
    .record({
      evaluationPeriods: fc.integer({ min: 1, max: 6 }),
      needed: fc.integer({ min: 1, max: 6 }),
      treatMissingData: fc.constantFrom(...treatments),
    })
    .map(({ evaluationPeriods, needed, treatMissingData }) =>
      rule({
        evaluationPeriods,
        datapointsToAlarm: Math.min(needed, evaluationPeriods),
        treatMissingData,
      }),
    );
  const anyCase = anyRule.chain((of) =>
    fc.tuple(
      fc.constant(of),
      fc.array(value, {
        minLength: of.evaluationPeriods + 2,
        maxLength: of.evaluationPeriods + 2,
      }),
      fc.constantFrom<AlarmState>(...states),
    ),
  );

  test("with all its data counts the latest periods, whatever it does about missing data", () => {
    fc.assert(
      fc.property(anyCase, ([of, some, before]) => {
        const all = some.map((each) => each ?? 0);
        const breaching = all.slice(-of.evaluationPeriods).filter((each) => each > 1).length;
        expect(evaluate(of, all, before)).toBe(breaching >= of.datapointsToAlarm ? "ALARM" : "OK");
      }),
    );
  });

  test("does not become better by a worse value in place of a good one", () => {
    fc.assert(
      fc.property(anyCase, fc.nat(), ([of, some, before], index) => {
        const worse = some.with(index % some.length, 2);
        if (some[index % some.length] === 0 && evaluate(of, some, before) === "ALARM") {
          expect(evaluate(of, worse, before)).toBe("ALARM");
        }
      }),
    );
  });

  test("lacks data only where all is missing, or where it did before", () => {
    fc.assert(
      fc.property(anyCase, ([of, some, before]) => {
        if (evaluate(of, some, before) === "INSUFFICIENT_DATA" && before !== "INSUFFICIENT_DATA") {
          expect(some.every((each) => each === undefined)).toBe(true);
          expect(of.treatMissingData).toBe("missing");
        }
      }),
    );
  });

  test.each([
    ["GreaterThanThreshold", [false, false, true]],
    ["GreaterThanOrEqualToThreshold", [false, true, true]],
    ["LessThanThreshold", [true, false, false]],
    ["LessThanOrEqualToThreshold", [true, true, false]],
  ] as const)("compares by %s", (comparison, expected) => {
    const of = rule({ comparison, evaluationPeriods: 1, datapointsToAlarm: 1 });
    expect([0, 1, 2].map((each) => evaluate(of, [each], "OK") === "ALARM")).toEqual(expected);
  });

  test("looks at whole minutes, and at two periods more than it needs", () => {
    const now = new Date("2026-11-26T15:40:59Z");
    const times = (period: number): string[] => {
      const { start, end } = evaluationRange({ period, evaluationPeriods: 3 }, now);
      return [start, end].map((time) => new Date(time).toISOString().slice(11, 19));
    };
    expect(times(60)).toEqual(["15:35:00", "15:40:00"]);
    expect(times(300)).toEqual(["15:15:00", "15:40:00"]);
    expect(times(10)).toEqual(["15:40:00", "15:40:50"]);
  });

  test.each([
    [
      "ALARM",
      "0 - X - X",
      { datapointsToAlarm: 2 },
      "Threshold Crossed: 2 out of the last 3 datapoints [2.0 (26/11/26 15:39:00), 2.0 (26/11/26 15:37:00)] were greater than the threshold (1.0) (minimum 2 datapoints for OK -> ALARM transition).",
    ],
    [
      "OK",
      "X X X X 0",
      {},
      "Threshold Crossed: 1 out of the last 3 datapoints [0.0 (26/11/26 15:39:00)] was not greater than the threshold (1.0) (minimum 1 datapoint for ALARM -> OK transition).",
    ],
    [
      "ALARM",
      "- - X - -",
      { treatMissingData: "breaching" },
      "Threshold Crossed: 1 out of the last 1 datapoints [2.0 (26/11/26 15:37:00)] was greater than the threshold (1.0) and 2 missing datapoints were treated as [Breaching] (minimum 3 datapoints for OK -> ALARM transition).",
    ],
    [
      "ALARM",
      "- - - - -",
      { treatMissingData: "breaching" },
      "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as [Breaching].",
    ],
    ["INSUFFICIENT_DATA", "- - - - -", {}, "Insufficient Data: 3 datapoints were unknown."],
  ] as const)("says why it is %s: %s", (state, text, changed, expected) => {
    const of = rule(changed);
    const range = evaluationRange(of, new Date("2026-11-26T15:40:30Z"));
    expect(evaluate(of, datapoints(text), "OK")).toBe(state);
    expect(reasonOf(of, datapoints(text), state, range)).toBe(expected);
  });

  test("needs all its periods unless it says otherwise, and takes missing data as missing", () => {
    const alarm = {
      MetricName: "hosts_up",
      Statistic: "Minimum",
      Period: 60,
      EvaluationPeriods: 5,
      Threshold: 3,
      ComparisonOperator: "LessThanThreshold",
    } as const;
    expect(ruleOf(alarm)).toEqual({
      period: 60,
      evaluationPeriods: 5,
      datapointsToAlarm: 5,
      comparison: "LessThanThreshold",
      threshold: 3,
      treatMissingData: "missing",
    });
    expect(ruleOf({ ...alarm, DatapointsToAlarm: 2, TreatMissingData: "breaching" })).toMatchObject(
      { datapointsToAlarm: 2, treatMissingData: "breaching" },
    );
  });

  test.each([
    [{ MetricName: undefined }, "it watches an expression"],
    [{ Statistic: undefined, ExtendedStatistic: "p99" }, "it watches the statistic p99"],
    [
      { ComparisonOperator: "GreaterThanUpperThreshold" as const },
      "it compares by GreaterThanUpperThreshold",
    ],
  ])("that can't be watched here says why", (changed, reason) => {
    const alarm = { MetricName: "a", Statistic: "Sum" as const, Period: 60, Threshold: 1 };
    expect(ruleOf({ ...alarm, ComparisonOperator: "LessThanThreshold", ...changed })).toBe(reason);
  });
});
