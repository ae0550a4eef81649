// The loss curve as an SVG of our own: raw and smoothed, axes, a readout under the pointer.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const HEIGHT = 230, LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 24;

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

  function path(points, x, y, key) {
    let command = 'M', line = '';
    for (const point of points) {
      if (!Number.isFinite(point[key])) {
        command = 'M';
        continue;
      }
      line += `${command}${x(point.step).toFixed(1)} ${y(point[key]).toFixed(1)}`;
      command = 'L';
    }
    return line;
  }

  function chart() {
    const { el, svg, text } = tl.dom;
    const readout = el('span', { class: 'tl-dim' });
    const picture = svg('svg', { class: 'tl-chart', role: 'img', 'aria-label': 'Loss over steps', height: HEIGHT });
    const node = el('div', {}, el('div', { class: 'tl-row' }, el('h3', {}, 'Loss'), readout), picture);
    let points = [], total = 0, scale = null;

    function axes(width, x, y, first, last, low, high) {
      const parts = [];
      for (const value of ticks(low, high, 4)) {
        parts.push(svg('line', { class: 'tl-grid-line', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
          svg('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, tl.fmt.number(value)));
      }
      for (const value of ticks(first, last, Math.max(2, Math.floor(width / 110)))) {
        const anchor = x(value) > width - 30 ? 'end' : 'middle';
        if (Number.isInteger(value)) parts.push(svg('text', { x: x(value), y: HEIGHT - 6, 'text-anchor': anchor }, tl.fmt.whole(value)));
      }
      return parts;
    }

    function draw() {
      const width = picture.clientWidth;
      if (!width || !points.length) {
        picture.replaceChildren(svg('text', { x: width / 2, y: HEIGHT / 2, 'text-anchor': 'middle' }, 'The curve begins with the first step.'));
        return;
      }
      const [low, high] = limits(points);
      const first = points[0].step, last = Math.max(total, points[points.length - 1].step, first + 1);
      const x = (step) => LEFT + ((step - first) / (last - first)) * (width - LEFT - RIGHT);
      const y = (loss) => TOP + (1 - (Math.min(high, Math.max(low, loss)) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
      const some = thin(points, width);
      const cursor = svg('line', { class: 'tl-cursor', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden' });
      const end = points[points.length - 1];
      picture.replaceChildren(...axes(width, x, y, first, last, low, high),
        svg('path', { class: 'tl-raw', d: path(some, x, y, 'loss') }), svg('path', { class: 'tl-smooth', d: path(some, x, y, 'smooth') }),
        svg('circle', { class: 'tl-tip', cx: x(end.step), cy: y(end.smooth), r: 3.5 }), cursor);
      scale = { x, cursor, width, first, last };
      rest();
    }

    function rest() {
      const end = points[points.length - 1];
      text(readout, end ? `raw ${tl.fmt.number(end.loss)}, smoothed ${tl.fmt.number(end.smooth)}` : '');
    }

    picture.addEventListener('pointermove', (event) => {
      if (!scale || !points.length) return;
      const share = (event.clientX - picture.getBoundingClientRect().left - LEFT) / (scale.width - LEFT - RIGHT);
      const step = scale.first + share * (scale.last - scale.first);
      const near = points.reduce((best, point) => (Math.abs(point.step - step) < Math.abs(best.step - step) ? point : best));
      scale.cursor.setAttribute('x1', scale.x(near.step));
      scale.cursor.setAttribute('x2', scale.x(near.step));
      scale.cursor.setAttribute('visibility', 'visible');
      text(readout, `step ${tl.fmt.whole(near.step)}: raw ${tl.fmt.number(near.loss)}, smoothed ${tl.fmt.number(near.smooth)}`);
    });
    picture.addEventListener('pointerleave', () => {
      if (scale) scale.cursor.setAttribute('visibility', 'hidden');
      rest();
    });
    new ResizeObserver(draw).observe(picture);

    return {
      node,
      set(newPoints, totalSteps) {
        points = newPoints;
        total = totalSteps;
        draw();
      },
    };
  }

  tl.chart = { chart, ticks };
})(trainLora);
