// Numbers behind the curves: limits, round ticks, thinning, paths. Pure.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** About `count` round numbers covering low..high. */
  function ticks(low, high, count) {
    const span = high - low || Math.abs(high) || 1;
    const rough = span / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Number(value.toPrecision(10)));
    return found;
  }

  /** Limits that one wild step does not blow up: all of the smoothed curve, the middle 96 % of the raw one. */
  function limits(points) {
    const raw = points.map((point) => point.loss).filter(Number.isFinite).sort((a, b) => a - b);
    const smooth = points.map((point) => point.smooth).filter(Number.isFinite);
    if (!raw.length) return [0, 1];
    const at = (share) => raw[Math.min(raw.length - 1, Math.floor(share * raw.length))];
    const low = Math.min(at(0.02), ...smooth), high = Math.max(at(0.98), ...smooth);
    const margin = (high - low) * 0.08 || Math.abs(high) * 0.1 || 0.1;
    return [Math.max(0, low - margin), high + margin];
  }

  /** At most one point per pixel and curve. */
  function thin(points, width) {
    const every = Math.max(1, Math.floor(points.length / width));
    return every === 1 ? points : points.filter((point, index) => index % every === 0 || index === points.length - 1);
  }

  /** A path through `value(point)`, broken where that is no number. */
  function path(points, x, y, value) {
    let command = 'M', line = '';
    for (const point of points) {
      const here = value(point);
      if (!Number.isFinite(here)) {
        command = 'M';
        continue;
      }
      line += `${command}${x(point.step).toFixed(1)} ${y(here).toFixed(1)}`;
      command = 'L';
    }
    return line;
  }

  /** The points of a view, with one more at either side so that lines reach the edges. */
  function within(points, [from, to]) {
    const start = points.findIndex((point) => point.step >= from);
    if (start < 0) return points.slice(-1);
    const after = points.findIndex((point) => point.step > to);
    return points.slice(Math.max(0, start - 1), after < 0 ? points.length : after + 1);
  }

  /** `[from, to]` changed by `factor` about `middle`, moved into first..last; null when that is all of it. */
  function zoomed([from, to], factor, middle, [first, last]) {
    const width = Math.max(Math.min(4, last - first), (to - from) * factor);
    if (width >= last - first) return null;
    const share = (middle - from) / (to - from || 1);
    const start = Math.min(Math.max(first, middle - share * width), last - width);
    return [start, start + width];
  }

  /** Names of the rates that the points carry, a handful. */
  function rates(points) {
    const end = points[points.length - 1];
    return Object.keys((end && end.lr) || {}).slice(0, 4);
  }

  tl.scales = { ticks, limits, thin, path, within, zoomed, rates };
})(trainLora);
