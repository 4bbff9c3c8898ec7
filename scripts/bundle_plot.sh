#!/usr/bin/env bash
# Bundle Observable Plot for `lighter report`: the parts of it and of D3 that the page uses, in one minified script.
# Usage: scripts/bundle_plot.sh; needs npm. `tests/results/report/test_assets.py` has the hash of what was committed.
set -euo pipefail

assets=$(cd "$(dirname "$0")/../src/lighter/results/report/assets" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @observablehq/plot@0.6.17 d3@7.9.0 esbuild@0.25.0
cat > entry.js <<'END'
export {plot, line, areaY, dot, text, barX, ruleX, ruleY, link, tickX, tip, pointer, axisX, axisY} from "@observablehq/plot";
END
npx esbuild entry.js --bundle --minify --format=iife --global-name=Plot --target=es2020 --legal-comments=none \
  --metafile=facts.json --outfile=plot.min.js
node - <<'END' > plot.LICENSES.txt
const fs = require("fs");
const inputs = Object.keys(JSON.parse(fs.readFileSync("facts.json")).inputs);
// the files of d3-array and d3-delaunay have these within them
const within = ["internmap", "delaunator", "robust-predicates"];
const names = [...new Set([...within, ...inputs.map(name => name.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean)])];
console.log("plot.min.js is bundled from these packages:\n");
for (const name of names.sort()) {
  const facts = JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`));
  const file = fs.readdirSync(`node_modules/${name}`).find(each => /^licen[cs]e/i.test(each));
  console.log(`${"=".repeat(100)}\n${name} ${facts.version} (${facts.license})\n`);
  if (file) console.log(fs.readFileSync(`node_modules/${name}/${file}`, "utf8").trim() + "\n");
}
END
cp plot.min.js plot.LICENSES.txt "$assets"
sha256sum "$assets/plot.min.js"
