// How the page looks, light and dark. One hue for each language, and the strongest for hoplog.

export const style = `
:root { color-scheme: light dark; --paper: #fcfcfb; --card: #fff; --ink: #1c1e21; --soft: #62676e;
  --rule: #e3e5e8; --ours: #e8590c; --ours-soft: #fff1e6; --alarm: #c92a2a; --alarm-soft: #ffe3e3;
  --floor: #868e96; --bun: #c2418c; --node: #2b8a3e; --go: #0b7fa5; --rust: #9c5a2e; --nginx: #6741d9;
  --down: #c92a2a22; --restart: #f08c0022; }
@media (prefers-color-scheme: dark) { :root { --paper: #131416; --card: #1b1d20; --ink: #e9eaec;
  --soft: #9aa0a8; --rule: #31353a; --ours: #ff922b; --ours-soft: #3a2410; --alarm: #ff8787;
  --alarm-soft: #431c1c; --floor: #8b939c; --bun: #f06fb8; --node: #51cf66; --go: #3bc9db;
  --rust: #d9a066; --nginx: #9775fa; --down: #ff6b6b2e; --restart: #ffd43b24; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 32px 24px 64px; max-width: 1180px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 28px; } h2 { margin: 44px 0 8px; font-size: 20px; }
h3 { margin: 18px 0 6px; font-size: 14px; font-weight: 600; color: var(--soft); }
p { margin: 4px 0; } .soft { color: var(--soft); font-size: 13px; }
.warning { color: var(--alarm); background: var(--alarm-soft); border-radius: 6px; padding: 6px 10px;
  margin: 6px 0; font-size: 13px; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; margin: 22px 0; }
.tile, .card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 26px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile.broken b { color: var(--alarm); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 12px; }
.charts .card { padding: 10px 12px; } .charts .broken { border-color: var(--alarm); }
.keys { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 8px 0; font-size: 13px; }
.key { display: inline-flex; align-items: center; gap: 6px; }
.key i { width: 12px; height: 12px; border-radius: 3px; background: currentColor; }
.scroll { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th, td { padding: 3px 10px; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 6px; } th.words, td.words { text-align: left; }
p.alarm { color: var(--alarm); font-weight: 600; font-size: 13px; }
tr.own td { background: var(--ours-soft); } td.alarm { text-align: left; color: var(--alarm); font-weight: 700; }
td.kept { color: var(--node); font-weight: 600; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); font-variant-numeric: tabular-nums; }
svg .title { font-weight: 600; } svg .tick { fill: var(--soft); font-size: 11px; }
svg .own { font-weight: 700; fill: var(--ours); } svg .grid { stroke: var(--rule); }
svg .spread { stroke: var(--ink); stroke-width: 1.2; opacity: .75; }
svg .bar { opacity: .8; } svg .v-ours { opacity: 1; } svg .bar.broken { opacity: .25; }
svg .alarm { fill: var(--alarm); font-weight: 700; } svg .end { font-size: 10.5px; }
svg .t-ours { font-weight: 700; }
svg .line { fill: none; stroke-width: 1.5; stroke-linejoin: round; opacity: .8; }
svg .line.l-ours { stroke-width: 2.8; opacity: 1; } svg .dashed { stroke-dasharray: 5 4; }
svg .band-label { font-size: 10.5px; fill: var(--soft); }
svg .down { fill: var(--down); } svg .restart { fill: var(--restart); }
${['ours', 'floor', 'bun', 'node', 'go', 'rust', 'nginx']
  .map(
    (kind) =>
      `.v-${kind}, .t-${kind}, svg .t-${kind} { fill: var(--${kind}); color: var(--${kind}); } .l-${kind} { stroke: var(--${kind}); }`,
  )
  .join('\n')}
`;
