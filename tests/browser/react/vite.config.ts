import { defineConfig } from "vite";

export default defineConfig({
  cacheDir: ".vite", // node_modules is the tests', and shared
  server: { fs: { strict: false } },
  // What @vitejs/plugin-react asks for too: found later, it would reload the page.
  optimizeDeps: { include: ["react/jsx-dev-runtime"] },
});
