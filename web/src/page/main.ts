import { App } from "./app";
import { byId } from "./dom";
import { followTheme } from "./theme";

followTheme(byId<HTMLButtonElement>("theme"));
new App(location.origin, new URLSearchParams(location.search).get("game") || "demo");
