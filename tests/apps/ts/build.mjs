// Bundles the application for j2w; what the host brings stays imported.

import { build } from "esbuild";
import { SpinEsbuildPlugin } from "@spinframework/build-tools/plugins/esbuild/index.js";

await build({
  entryPoints: ["src/index.ts"],
  outfile: "build/bundle.js",
  bundle: true,
  format: "esm",
  platform: "node",
  target: "es2022",
  plugins: [await SpinEsbuildPlugin()],
});
