/** The only style sheet. Colours are pairs of a light and a dark one, with enough contrast for text of any size. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #dfe3e8; --text: #1b222c; --quiet: #596573; --link: #1d4fb8; --track: #e3e7ec;
  --good: #1a7f4b; --bad: #c2283a; --warn: #9a6200; --gone: #6d5bb0; --busy: #2456c8;
  --good-soft: #e2f4ea; --bad-soft: #fdeaec; --warn-soft: #fcf1dc; --gone-soft: #eeebf9; --busy-soft: #e7eefc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2028; --line: #2d3540; --text: #e4e8ee; --quiet: #9ba6b4; --link: #8db4ff; --track: #323b47;
    --good: #52c68a; --bad: #ff7d87; --warn: #e5b04c; --gone: #b3a3f2; --busy: #7aa7ff;
    --good-soft: #17301f; --bad-soft: #3a1a1f; --warn-soft: #352913; --gone-soft: #282240; --busy-soft: #1a2a48;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); text-underline-offset: .15em; text-decoration-thickness: from-font; }
a:hover { text-decoration-thickness: 2px; }
:focus-visible { outline: 3px solid var(--busy); outline-offset: 2px; border-radius: 3px; }
main:focus { outline: none; }
.skip { position: absolute; left: 1rem; top: -5rem; padding: .5rem 1rem; background: var(--card); z-index: 1; }
.skip:focus { top: .5rem; }
.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
header.site { border-bottom: 1px solid var(--line); background: var(--card); }
header.site a { display: block; max-width: 66rem; margin: 0 auto; padding: .7rem 1.25rem; color: var(--text); font-weight: 650; text-decoration: none; }
header.site a:hover { text-decoration: underline; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 0; }
h3 { font-size: .95rem; margin: 1rem 0 .25rem; }
p { margin: .5rem 0; }
code, pre { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: .4rem 0; padding: .6rem .8rem; white-space: pre-wrap; background: var(--page); border: 1px solid var(--line); border-radius: 6px; max-height: 16rem; overflow: auto; }
pre.reason { color: var(--bad); background: var(--bad-soft); border-color: transparent; }
small { display: block; font-size: .85rem; color: var(--quiet); }
small + small { margin-top: .1rem; }
.meaning, .age, .count, .which { color: var(--quiet); }
.meaning { font-size: .925rem; margin: .1rem 0 .6rem; }
.count { font-weight: 400; font-variant-numeric: tabular-nums; }
.failed:not(.badge):not(.callout):not(.none) { color: var(--bad); }
.empty { padding: 2.5rem 1rem; text-align: center; color: var(--quiet); border: 1px dashed var(--line); border-radius: 8px; }
.sentence { max-width: 45rem; margin: 1rem 0 1.5rem; }
.crumbs { font-size: .925rem; margin-bottom: .6rem; color: var(--quiet); }
.stale { margin: 0; padding: .6rem 1.25rem; text-align: center; background: var(--warn-soft); color: var(--text); border-bottom: 1px solid var(--line); }

.card, table.batches { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.card { padding: 1rem 1.25rem; margin: 1rem 0; }
.heading { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; justify-content: space-between; align-items: flex-start; }
.heading h1 { flex: 1 1 18rem; min-width: 0; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline; margin: .4rem 0 1rem; color: var(--quiet); }
.callout, .message { padding: .7rem 1rem; border-radius: 8px; border-left: 4px solid var(--warn); background: var(--warn-soft); }
.callout.failed { border-color: var(--bad); background: var(--bad-soft); }
.message { border-color: var(--good); background: var(--good-soft); }

.badge { display: inline-block; padding: .05rem .55rem; border-radius: 1rem; font-size: .85rem; font-weight: 600; white-space: nowrap; color: var(--quiet); background: var(--track); }
.badge.running, .badge.finishing, .badge.callback-enqueued { color: var(--busy); background: var(--busy-soft); }
.badge.succeeded, .badge.callback-succeeded { color: var(--good); background: var(--good-soft); }
.badge.failed, .badge.callback-failed { color: var(--bad); background: var(--bad-soft); }
.badge.open { color: var(--warn); background: var(--warn-soft); }
.badge.cancelled { color: var(--gone); background: var(--gone-soft); }

.stages { overflow-x: auto; }
.stages svg { display: block; }
.stages path { fill: none; stroke: var(--quiet); stroke-width: 1.5; }
.stages path.failure, .stages path.complete { stroke-dasharray: 5 4; }
.stage { box-sizing: border-box; height: 100%; padding: .2rem .6rem; border: 2px solid var(--line); border-radius: 8px; background: var(--card); line-height: 1.35; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.stage small { display: block; color: var(--quiet); }
.stage.running, .stage.finishing { border-color: var(--busy); background: var(--busy-soft); }
.stage.succeeded { border-color: var(--good); background: var(--good-soft); }
.stage.failed { border-color: var(--bad); background: var(--bad-soft); }
.stage.cancelled { border-color: var(--gone); background: var(--gone-soft); }
.stage.skipped { border-style: dashed; }

.bar { height: .5rem; border-radius: .25rem; overflow: hidden; background: var(--track); }
.bar svg { display: block; width: 100%; height: 100%; }
rect.succeeded { fill: var(--good); } rect.failed { fill: var(--bad); } rect.cancelled { fill: var(--gone); } rect.missing { fill: var(--warn); }

.search { display: flex; gap: .5rem; margin: 1rem 0; }
input { flex: 1; min-width: 0; width: 100%; font: inherit; padding: .45rem .7rem; color: var(--text); background: var(--card); border: 1px solid #8792a0; border-radius: 6px; }
button, .button { display: inline-block; font: inherit; font-weight: 550; padding: .45rem .9rem; color: var(--text); background: var(--card); border: 1px solid #8792a0; border-radius: 6px; text-decoration: none; cursor: pointer; }
button:hover, .button:hover { background: var(--track); }
.primary { color: #ffffff; background: #2456c8; border-color: transparent; }
.primary:hover { background: #1b45a5; }
.primary.cancel { background: #b3202f; }
.primary.cancel:hover { background: #8f1824; }
.button.cancel:not(.primary) { color: var(--bad); }
.actions { display: flex; flex-wrap: wrap; gap: .5rem; }
.heading .actions { margin-bottom: .4rem; }
.confirm { max-width: 42rem; }
.confirm .actions { margin-top: 1.2rem; }
.confirm .which { color: var(--text); }
.confirm label { display: block; margin-bottom: .3rem; color: var(--quiet); font-size: .925rem; }

.tabs { display: flex; flex-wrap: wrap; gap: 0 1.4rem; list-style: none; margin: 0 0 1.2rem; padding: 0; border-bottom: 1px solid var(--line); }
.tabs a { display: block; padding: .45rem 0; color: var(--quiet); text-decoration: none; border-bottom: 3px solid transparent; margin-bottom: -1px; }
.tabs a:hover { color: var(--text); border-color: var(--line); }
.tabs a[aria-current] { color: var(--text); font-weight: 600; border-color: var(--busy); }

section + section { margin-top: 1.8rem; }
section.card + section.card { margin-top: 1rem; }
table.batches { width: 100%; table-layout: fixed; border-collapse: separate; border-spacing: 0; font-size: .95rem; }
.batches th { text-align: left; font-size: .85rem; font-weight: 500; color: var(--quiet); padding: .5rem .75rem; }
.batches td { padding: .6rem .75rem; border-top: 1px solid var(--line); vertical-align: top; }
.batches th:first-child, .batches td:first-child { padding-left: 1.25rem; }
.batches th:nth-child(2) { width: 8.5rem; } .batches th:nth-child(3) { width: 19%; } .batches th:nth-child(4) { width: 13rem; } .batches th:nth-child(5) { width: 7.5rem; }
.batches .name > a, .batches .name code { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; width: fit-content; }
.batches .name > a { font-weight: 600; }
.batches .name code { -webkit-line-clamp: 2; }
.batches .progress .bar { margin-top: .45rem; }
.percent { font-size: .85rem; color: var(--quiet); font-variant-numeric: tabular-nums; }
.members, .age { font-variant-numeric: tabular-nums; }
.batches .age { white-space: nowrap; }
.pager { display: flex; gap: 1.2rem; margin: 1rem 0; align-items: baseline; }
.all { margin: .6rem 0 0; }

[data-progress] h2 { font-size: 1.8rem; line-height: 1.2; margin-bottom: .4rem; font-variant-numeric: tabular-nums; }
[data-progress] > .bar { height: .8rem; border-radius: .4rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; list-style: none; margin: .7rem 0 1rem; padding: 0; font-variant-numeric: tabular-nums; }
.legend li::before { content: ""; display: inline-block; width: .7em; height: .7em; margin-right: .4em; border-radius: 2px; background: var(--track); }
.legend li.succeeded::before { background: var(--good); } .legend li.failed::before { background: var(--bad); }
.legend li.cancelled::before { background: var(--gone); } .legend li.missing::before { background: var(--warn); }
.legend li.pending::before { border: 1px solid #8792a0; }
.legend li.failed:not(.none) { color: var(--bad); }
.legend li.none { color: var(--quiet); }
.legend li.none b { font-weight: 400; }
.legend li.total { color: var(--quiet); }
.legend li.total::before { display: none; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .7rem 1.2rem; margin: 0; padding-top: 1rem; border-top: 1px solid var(--line); }
dt { font-size: .85rem; color: var(--quiet); }
dd { margin: 0; font-variant-numeric: tabular-nums; }

summary { cursor: pointer; color: var(--link); width: fit-content; padding: .15rem 0; }
.reasons { margin: .5rem 0; padding-left: 1.2rem; }
.plain, .plain ul { padding-left: 1.2rem; margin: .2rem 0; }
.plain ul { color: var(--quiet); font-size: .925rem; }
.callbacks, .failures { list-style: none; margin: .4rem 0 0; padding: 0; }
.callbacks li { display: flex; flex-wrap: wrap; gap: .2rem 1rem; justify-content: space-between; padding: .5rem 0; border-top: 1px solid var(--line); }
.callbacks li:first-child { border-top: 0; }
.callbacks li > b { width: 6rem; }
.callbacks li > span:nth-child(2) { flex: 1 1 14rem; }
.callbacks .badge { align-self: flex-start; }
.failures li { padding: .8rem 0; border-top: 1px solid var(--line); }
.card .failures li:first-child { border-top: 0; }
.failures .which { margin: 0; }

.tree, .tree ul { list-style: none; margin: .6rem 0 0; padding: 0; }
.tree ul { padding-left: 1.1rem; margin-left: .25rem; border-left: 1px solid var(--line); }
.tree ul ul ul ul ul { padding-left: .3rem; }
.tree li { padding: .35rem 0; }
.node { display: grid; grid-template-columns: minmax(0, 1fr) 7rem minmax(6rem, 10rem) 13rem; gap: .1rem 1rem; align-items: center; }
.node .badge { justify-self: start; }
.node .title { font-weight: 550; }
.node .members { font-size: .925rem; color: var(--quiet); }
.node .why { grid-column: 1 / -1; }
.tree details > summary { font-size: .925rem; }

@media (max-width: 46rem) {
  main { padding: 1.1rem 1rem 3rem; }
  header.site a { padding: .7rem 1rem; }
  h1 { font-size: 1.35rem; }
  .card { padding: .9rem 1rem; }
  table.batches, .batches tbody, .batches tr, .batches td { display: block; width: auto; }
  .batches thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.batches { background: none; border: 0; }
  .batches tr { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; margin-bottom: .7rem; display: grid; grid-template-columns: 1fr auto; gap: .3rem 1rem; }
  .batches td, .batches td:first-child { padding: 0; border: 0; }
    .batches .progress { grid-column: 1 / -1; display: flex; gap: .7rem; align-items: center; }
  .batches .progress .bar { flex: 1; margin: 0; }
  .node { grid-template-columns: minmax(0, 1fr) auto; }
  .node .bar, .node .members { grid-column: 1 / -1; }
  .tree ul { padding-left: .7rem; }
  dl { grid-template-columns: 1fr 1fr; gap: .7rem 1rem; }
  button, .button, .tabs a, summary { min-height: 44px; align-content: center; }
}
@media (prefers-reduced-motion: no-preference) {
  .bar rect { transition: x .6s, width .6s; }
}
@media (forced-colors: active) {
  .bar { border: 1px solid CanvasText; } rect { forced-color-adjust: none; }
}
`;
