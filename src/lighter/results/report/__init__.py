"""One page of runs and experiments: a file that opens from disk, without a network, and holds all of its data.

words          a word of the command line -> runs, an experiment, a trial
subject        words -> all that the page is about
groups         runs -> groups that differ in nothing but seed and fold, with labels that tell them apart
curves         logged values -> at most some hundred points for each curve
differences    what differs between the groups in config, code and environment
search         an experiment -> its trials, parameters, rungs, and the importance of each parameter
recorded       files of evaluations and pictures in a run's folder -> data and embedded images
arrays         matrices and vectors that metrics returned
verdicts       groups -> which is better, and how sure that is
resources      time, machines and packages
document       a subject -> all data of the page, as JSON has it
page           data -> HTML; `assets/` has the styles, our script, and the chart library
watch          write the page again and again while something runs

Charts are drawn by Observable Plot, the table by a script of ours. What was tried, in November 2026 in headless
Chromium on two cores: 20 curves of 10,000 points (median of three), and a filter in a table of 10,000 rows.

library                   minified   reads    draws     licence     last release
Observable Plot 0.6.17    490 kB     218 ms   384 ms    ISC         2025-05
uPlot 1.6.32              53 kB      66 ms    265 ms    MIT         2025-05
ECharts 6.1.0             1,122 kB   202 ms   664 ms    Apache-2.0  2026-05
Plotly basic 4.1.1        1,192 kB   678 ms   926 ms    MIT         2026-09
Chart.js 4.6.1            210 kB     32 ms    988 ms    MIT         2026-10
Vega-Lite 6.5.0           779 kB     191 ms   1,933 ms  BSD-3       2026-10
Tabulator 6.5.3           477 kB              73 ms     MIT         2026-09
DataTables 3.1.5          124 kB              82 ms     MIT         2026-10
Grid.js 6.2.0             53 kB               38 ms     MIT         2024-05

Plot has all kinds of charts that the page needs, in a few lines each. As SVG they print sharp and take their colours
from the style sheet, so that light, dark and print are no second drawing. `scripts/bundle_plot.sh` bundles the parts in
use to 280 kB. uPlot is smaller and quicker, and draws lines alone, on a canvas. ECharts and Plotly weigh more than a
page that is attached to mails may; Chart.js has no heat maps and bands, and Vega-Lite compiles with `eval`, which the
page forbids. The tables weigh more than all of our script, and but for Tabulator they have no virtual rows.
"""
