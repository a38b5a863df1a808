// SPDX-License-Identifier: MIT
//
// How the page of `skep report` looks. Constant.
#pragma once

#include <string_view>

namespace skep::cli {

// Colours by name, for light, dark and paper; everything else takes them from here. The accent and
// the grey of the bars have a contrast of 3 to 1 and more on the cards, in both schemes.
inline constexpr std::string_view kReportStyle = R"css(
:root { color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --edge: #e3e2dc; --ink: #14140f; --soft: #56554e;
  --grid: #e8e7e1; --base: #b9b8b0; --now: #2468c4; --then: #8f8d84; --track: #e6e9ef; }
@media (prefers-color-scheme: dark) { :root {
  --page: #131312; --card: #1d1d1b; --edge: #34332f; --ink: #f4f3ee; --soft: #b5b3a9;
  --grid: #2d2c29; --base: #55534c; --now: #5b9bec; --then: #8b8980; --track: #2c3038; } }
@media print { :root { color-scheme: light;
  --page: #fff; --card: #fff; --edge: #ccc; --ink: #000; --soft: #444;
  --grid: #ddd; --base: #888; --now: #2468c4; --then: #8f8d84; --track: #e6e9ef; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 3rem; }
header { margin-bottom: 1.75rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .15rem 0 .35rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .25rem; }
h3 { font-size: .95rem; margin: 1.25rem 0 .25rem; }
p { margin: .25rem 0; max-width: 46rem; }
.brand { color: var(--now); font-weight: 650; margin: 0; }
.soft, footer { color: var(--soft); }
.soft, footer, summary, table { font-size: .9rem; }
.tiles { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr));
  margin: 0 0 1rem; padding: 0; }
.tiles > div, section { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; }
.tiles > div { padding: 1rem 1.25rem; display: flex; flex-direction: column; }
.tiles dt { color: var(--soft); font-size: .9rem; order: 0; }
.tiles dd { margin: 0; }
.tiles .figure { font-size: 1.9rem; line-height: 1.25; font-weight: 620; order: 1; }
.tiles .note { color: var(--soft); font-size: .85rem; order: 2; }
.tiles .lead .figure { color: var(--now); }
section { padding: 1.25rem 1.5rem 1.35rem; margin: 1rem 0; break-inside: avoid; }
.scroll { overflow-x: auto; }
.scroll > svg { min-width: 34rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--grid); } svg .base { stroke: var(--base); }
svg .line { fill: none; stroke: var(--now); stroke-width: 2; stroke-linejoin: round; }
svg .area { fill: var(--now); opacity: .13; }
svg .dot { fill: var(--now); stroke: var(--card); stroke-width: 2; }
svg .hit { fill: transparent; }
svg .hit:hover { fill: var(--soft); opacity: .12; }
svg .then { fill: var(--then); } svg .now { fill: var(--now); } svg .track { fill: var(--track); }
.meter { height: 10px; min-width: 6rem; } h2 + .meter { margin: .75rem 0 .25rem; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .75rem 0 .25rem; padding: 0;
  list-style: none; color: var(--soft); font-size: .9rem; }
.legend li::before { content: ""; display: inline-block; width: .75rem; height: .75rem;
  border-radius: 3px; margin-right: .45rem; vertical-align: -1px; background: var(--then); }
.legend .now::before { background: var(--now); }
details { margin-top: .75rem; } summary { cursor: pointer; color: var(--soft); }
table { border-collapse: collapse; width: 100%; margin-top: .5rem; }
th, td { text-align: left; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; }
th { color: var(--soft); font-weight: 550; } tr:last-child > * { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.wide { width: 30%; vertical-align: middle; padding-right: 0; }
tbody th { color: var(--ink); font-weight: 400; }
.pair { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr));
  margin: 1rem 0; } .pair section { margin: 0; }
code { font-size: .92em; } footer { margin-top: 1.5rem; }
)css";

}  // namespace skep::cli
