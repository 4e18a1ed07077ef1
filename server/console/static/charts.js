"use strict";
// Draws the learning curves whose numbers stand in #curves, and draws them anew when these have changed.
const DARK = matchMedia("(prefers-color-scheme: dark)");
const HEIGHT = 260;
const MOST_IN_LEGEND = 8;
const drawnCharts = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function told(_chart, value) {
  return value === null ? "" : value.toFixed(3);
}

function seriesOf(panel) {
  const palette = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => colour(`--line-${number}`));
  const sites = panel.sites.map((site, place) => ({
    label: site.name, stroke: palette[place % palette.length], width: 1.25, spanGaps: false,
    points: { show: panel.places.length < 3 }, value: told,
  }));
  const best = { label: "best", stroke: colour("--ink"), width: 0, points: { show: true, size: 12, width: 2, fill: colour("--paper") } };
  const all = {
    label: "all hospitals", stroke: colour("--ink"), width: 2.75,
    points: { show: panel.places.length < 3 }, value: told,
  };
  return [{ label: panel.axis, value: (_chart, value) => (value === null ? "" : String(value)) }, ...sites, all, best];
}

function rowsOf(panel) {
  const best = panel.places.map((place) => (panel.best && place === panel.best[0] ? panel.best[1] : null));
  return [panel.places, ...panel.sites.map((site) => site.values), panel.all, best];
}

function axis(label) {
  return {
    label, stroke: colour("--quiet"), font: "13px system-ui, sans-serif", labelFont: "13px system-ui, sans-serif",
    grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
  };
}

function draw(place, panel) {
  const shape = panel.sites.map((site) => site.name).join();
  const known = drawnCharts.get(place);
  if (known && known.shape === shape) {
    known.chart.setData(rowsOf(panel));
    return;
  }
  if (known) known.chart.destroy();
  place.replaceChildren();
  if (panel.places.length === 0) {
    place.textContent = "No figure yet: the first comes when a round is answered.";
    drawnCharts.delete(place);
    return;
  }
  const options = {
    width: place.clientWidth, height: HEIGHT, series: seriesOf(panel),
    scales: { x: { time: false } },
    axes: [{ ...axis(panel.axis), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] }, { ...axis(), label: undefined, size: 56 }],
    legend: {
      show: panel.sites.length <= MOST_IN_LEGEND,
      markers: { fill: (chart, place) => chart.series[place].stroke(chart, place) },
    },
  };
  drawnCharts.set(place, { shape, chart: new uPlot(options, rowsOf(panel), place) });
}

function drawAll() {
  const panels = JSON.parse(document.getElementById("curves").textContent);
  for (const panel of panels) {
    const place = document.querySelector(`[data-chart="${panel.name}"]`);
    if (place) draw(place, panel);
  }
}

function beginAnew() {
  for (const { chart } of drawnCharts.values()) chart.destroy();
  drawnCharts.clear();
  drawAll();
}

document.addEventListener("parts", (event) => { if ("curves" in event.detail) drawAll(); });
DARK.addEventListener("change", beginAnew);
let resized;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    for (const [place, { chart }] of drawnCharts) chart.setSize({ width: place.clientWidth, height: HEIGHT });
  }, 150);
});
drawAll();
