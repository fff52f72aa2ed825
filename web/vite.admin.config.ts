// Builds the admin page into admin-dist/, as vite.config.ts builds the page.
import { defineConfig, mergeConfig } from "vite";
import page from "./vite.config.ts";

export default mergeConfig(page, defineConfig({ root: "admin", publicDir: "../public", build: { outDir: "../admin-dist" } }));
