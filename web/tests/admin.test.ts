import { describe, expect, it } from "vitest";
import { GAP_S, pathOf, roundUp } from "../src/admin/chart";
import { millisecondsText, numberText, optionsOf, percentText, pollIdOf } from "../src/admin/words";

const frame = { fromS: 0, toS: 100, most: 10, width: 100, height: 50 };
const strokes = (path: string) => path.split("M").length - 1;

describe("a line over time", () => {
  it("joins points that follow each other and breaks where nothing is known", () => {
    const at = (...times: number[]) => times.map((atS) => ({ atS, value: 5 }));
    expect(pathOf(at(10, 20, 30), frame)).toBe("M5.0 25.0L10.0 25.0L20.0 25.0L30.0 25.0");
    expect(strokes(pathOf(at(10, 10 + GAP_S, 99), frame))).toBe(2);
    expect(strokes(pathOf([...at(10), { atS: 20, value: undefined }, ...at(50)], frame))).toBe(2);
    expect(pathOf([], frame)).toBe("");
  });

  it("leaves out what is outside the hour, and stays within its frame", () => {
    expect(pathOf([{ atS: -5, value: 1 }, { atS: 101, value: 1 }], frame)).toBe("");
    expect(pathOf([{ atS: 50, value: 1e9 }], frame)).toBe("M45.0 0.0L50.0 0.0");
  });

  it("ends its axis at a round number that is no less", () => {
    expect([0, -1, Number.NaN, Number.POSITIVE_INFINITY].map(roundUp)).toEqual([1, 1, 1, 1]);
    for (const value of [0.001, 0.3, 1, 1.1, 4.9, 5, 99, 12_345]) {
      expect(roundUp(value)).toBeGreaterThanOrEqual(value);
      expect(roundUp(value)).toBeLessThanOrEqual(value * 2.5 + 1e-9);
    }
  });
});

describe("words of the admin page", () => {
  it("say a dash for what nobody tells", () => {
    expect([numberText(undefined), percentText(undefined), millisecondsText(undefined)]).toEqual(["–", "–", "–"]);
    expect([numberText(0), numberText(0.346), numberText(12_345.6)]).toEqual(["0", "0.35", "12,346"]);
  });

  it("make an id and options of what people write", () => {
    for (const question of ["Who wins?", "مَن يفوز؟", "🏁", "É".repeat(200), "<script>"]) {
      expect(pollIdOf(question, "x1")).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    }
    expect(pollIdOf("Who wins?", "x1")).toBe("who-wins-x1");
    expect(optionsOf(" Red\n\n<b>Blå</b>\r\n")).toEqual([{ optionId: "o1", label: "Red" }, { optionId: "o2", label: "<b>Blå</b>" }]);
  });
});
