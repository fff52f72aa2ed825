/** Light or dark: as the system says, until the person says otherwise; that is kept. */
import { browserStorage, read, write } from "./storage";
import { set } from "./dom";

const KEY = "grandstand.theme";
type Theme = "light" | "dark";

export function followTheme(button: HTMLButtonElement): void {
  const storage = browserStorage();
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = read(storage, KEY);
  let chosen: Theme | undefined = kept === "light" || kept === "dark" ? kept : undefined;

  const show = () => {
    const theme = chosen ?? (system.matches ? "dark" : "light");
    set(document.documentElement, { "data-theme": chosen });
    const other = theme === "dark" ? "light" : "dark";
    set(button, { "aria-label": `Switch to ${other} mode`, title: `Switch to ${other} mode` });
  };
  button.addEventListener("click", () => {
    chosen = (chosen ?? (system.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    write(storage, KEY, chosen);
    show();
  });
  system.addEventListener("change", show);
  show();
}
