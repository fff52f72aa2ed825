/** Numbers and times as the admin page says them. Pure. */
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** "1,204", "0.35"; a dash for what nobody tells. */
export function numberText(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return "–";
  return Math.abs(value) >= 100 || Number.isInteger(value) ? WHOLE.format(value) : FINE.format(value);
}

export function percentText(ratio: number | undefined): string {
  return ratio === undefined ? "–" : `${WHOLE.format(ratio * 100)} %`;
}

export function mebibytesText(bytes: number | undefined): string {
  return bytes === undefined ? "–" : `${WHOLE.format(bytes / 2 ** 20)} MiB`;
}

export function millisecondsText(seconds: number | undefined): string {
  return seconds === undefined ? "–" : `${WHOLE.format(seconds * 1000)} ms`;
}

/** "20:05", of this browser's time zone. */
export function clockText(atMs: number): string {
  return CLOCK.format(atMs);
}

/** An id from a question: what a poll of it may be called. Told apart by `salt`. */
export function pollIdOf(question: string, salt: string): string {
  const words = question.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  return `${words.slice(0, 40).replace(/-+$/, "") || "poll"}-${salt}`;
}

/** Lines as options: their ids are their places, so that any text does for a label. */
export function optionsOf(lines: string): { optionId: string; label: string }[] {
  const labels = lines.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return labels.map((label, i) => ({ optionId: `o${i + 1}`, label }));
}
