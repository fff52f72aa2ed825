// Builds the page into dist/: few files, stable names, the same bytes every time.
//
// The Content-Security-Policy is put into the built page only: vite's dev server needs inline
// styles for its hot reload, the product needs none.
import { defaultClientConditions, defaultServerConditions, defineConfig, type Plugin } from "vite";

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

// Names that a release keeps, so that a cache or a proxy may know them.
const STABLE_NAMES: Record<string, string> = { css: "app.css", woff2: "archivo.woff2" };

// The condition in the exports of clients/typescript that names its source; also in tsconfig.json.
const CLIENT_SOURCE = "@grandstand/source";

function contentSecurityPolicy(): Plugin {
  return {
    name: "content-security-policy",
    apply: "build",
    transformIndexHtml: () => [
      { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
    ],
  };
}

export default defineConfig({
  base: "./",
  plugins: [contentSecurityPolicy()],
  // Resolve the client to its source: a change there needs no build of its own. vitest resolves as `ssr`.
  resolve: { conditions: [CLIENT_SOURCE, ...defaultClientConditions] },
  ssr: { resolve: { conditions: [CLIENT_SOURCE, ...defaultServerConditions] } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    // A font as a data: URI would need a wider policy.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        entryFileNames: "app.js",
        chunkFileNames: "app-[name].js",
        assetFileNames: (asset) => STABLE_NAMES[(asset.names[0] ?? "").replace(/.*\./, "")] ?? "[name][extname]",
      },
    },
  },
  server: {
    // `npm run dev` beside a running mesh.
    proxy: { "^/grandstand\\.": "http://127.0.0.1:8080" },
  },
  test: { include: ["tests/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
