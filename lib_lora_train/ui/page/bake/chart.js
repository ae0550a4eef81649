// The curves as an SVG of our own: loss raw and smoothed, the rates below; zoomed by drag, wheel and keys.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const HEIGHT = 310, LEFT = 52, RIGHT = 10, TOP = 10;
  const LOSS = [TOP, 205], RATES = [232, 286]; // from, to: pixels downwards
  const HINT = 'Drag over a part to see it larger; with the chart in focus: wheel or + and −, arrows, 0 for the whole run.';

  function chart() {
    const { el, svg, text, show, button } = tl.dom;
    const { ticks, limits, thin, path, within, zoomed, rates } = tl.scales;
    const readout = el('span', { class: 'tl-dim', 'aria-live': 'off' });
    const picture = svg('svg', { class: 'tl-chart', role: 'img', tabindex: 0, 'aria-label': 'Loss and learning rates over steps', height: HEIGHT });
    const whole = button('Whole run', () => look(null), { hidden: true });
    const node = el('div', { class: 'tl-chart-box' }, el('div', { class: 'tl-row' }, el('h3', {}, 'Loss'), readout,
      el('span', { class: 'tl-row tl-tight tl-end' }, whole)), picture, el('p', { class: 'tl-help' }, HINT));
    let points = [], total = 0, view = null, scale = null, drag = null;

    /** All of the run; while little of it is done, twice that. */
    const span = () => {
      const first = points[0].step, last = points[points.length - 1].step;
      return [first, Math.max(Math.min(total, 2 * last), last, first + 1)];
    };
    const shown = () => view || span();

    function look(next) {
      view = next;
      show(whole, view);
      draw();
    }

    function axes(width, x, y, [from, to], [low, high]) {
      const parts = [];
      for (const value of ticks(low, high, 4)) {
        parts.push(svg('line', { class: 'tl-grid-line', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
          svg('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, tl.fmt.number(value)));
      }
      for (const value of ticks(from, to, Math.max(2, Math.floor(width / 110)))) {
        const anchor = x(value) > width - 30 ? 'end' : 'middle';
        if (Number.isInteger(value)) parts.push(svg('text', { x: x(value), y: HEIGHT - 6, 'text-anchor': anchor }, tl.fmt.whole(value)));
      }
      return parts;
    }

    /** The rates that are in force, what adaptive optimisers found included. */
    function rateLines(some, x, width) {
      const names = rates(points);
      const high = Math.max(0, ...some.flatMap((point) => names.map((name) => (point.lr || {})[name] || 0)));
      if (!names.length || !high) return [];
      const y = (value) => RATES[1] - (value / high) * (RATES[1] - RATES[0]);
      return [svg('line', { class: 'tl-grid-line', x1: LEFT, x2: width - RIGHT, y1: RATES[1], y2: RATES[1] }),
        svg('text', { x: LEFT - 6, y: RATES[0] + 4, 'text-anchor': 'end' }, tl.fmt.number(high)), svg('text', { x: LEFT - 6, y: RATES[1] + 4, 'text-anchor': 'end' }, '0'),
        ...names.map((name, index) => svg('path', { class: `tl-rate tl-rate-${index}`, d: path(some, x, y, (point) => (point.lr || {})[name]) })),
        ...names.map((name, index) => svg('text', { class: `tl-rate-name tl-rate-${index}`, x: LEFT + 6 + index * 130, y: RATES[0] - 8 }, `rate ${name.replace(/_/g, ' ')}`))];
    }

    function draw() {
      const width = picture.clientWidth;
      if (!width) return;
      if (!points.length) {
        picture.replaceChildren(svg('text', { x: width / 2, y: HEIGHT / 2, 'text-anchor': 'middle' }, 'The curve begins with the first step.'));
        return;
      }
      const [from, to] = shown();
      const inside = within(points, [from, to]);
      const [low, high] = limits(inside);
      const x = (step) => LEFT + ((step - from) / (to - from)) * (width - LEFT - RIGHT);
      const y = (loss) => LOSS[0] + (1 - (Math.min(high, Math.max(low, loss)) - low) / (high - low)) * (LOSS[1] - LOSS[0]);
      const some = thin(inside, width);
      const cursor = svg('line', { class: 'tl-cursor', y1: TOP, y2: RATES[1], visibility: 'hidden' });
      const chosen = svg('rect', { class: 'tl-chosen', y: TOP, height: RATES[1] - TOP, visibility: 'hidden' });
      const end = points[points.length - 1];
      const frame = svg('clipPath', { id: 'train_lora_chart_frame' }, svg('rect', { x: LEFT, y: 0, width: width - LEFT - RIGHT + 4, height: HEIGHT }));
      const curves = svg('g', { 'clip-path': 'url(#train_lora_chart_frame)' }, svg('path', { class: 'tl-raw', d: path(some, x, y, (point) => point.loss) }),
        svg('path', { class: 'tl-smooth', d: path(some, x, y, (point) => point.smooth) }), ...rateLines(some, x, width));
      picture.replaceChildren(frame, ...axes(width, x, y, [from, to], [low, high]), curves,
        ...(end.step <= to ? [svg('circle', { class: 'tl-tip', cx: x(end.step), cy: y(end.smooth), r: 3.5 })] : []), chosen, cursor);
      scale = { x, cursor, chosen, width, from, to };
      if (!drag) rest();
    }

    function rest() {
      const end = points[points.length - 1];
      text(readout, end ? `raw ${tl.fmt.number(end.loss)}, smoothed ${tl.fmt.number(end.smooth)}` : '');
    }

    const stepAt = (event) => {
      const share = (event.clientX - picture.getBoundingClientRect().left - LEFT) / (scale.width - LEFT - RIGHT);
      return scale.from + Math.min(1, Math.max(0, share)) * (scale.to - scale.from);
    };

    function tell(step) {
      const near = points.reduce((best, point) => (Math.abs(point.step - step) < Math.abs(best.step - step) ? point : best));
      for (const side of ['x1', 'x2']) scale.cursor.setAttribute(side, scale.x(near.step));
      scale.cursor.setAttribute('visibility', 'visible');
      const found = rates(points).map((name) => `, ${name.replace(/_/g, ' ')} ${tl.fmt.number((near.lr || {})[name])}`);
      text(readout, `step ${tl.fmt.whole(near.step)}: raw ${tl.fmt.number(near.loss)}, smoothed ${tl.fmt.number(near.smooth)}${found.join('')}`);
    }

    const by = (factor, middle) => points.length && look(zoomed(shown(), factor, middle, span()));
    const move = (share) => {
      const [from, to] = shown(), [first, last] = span(), width = to - from;
      const start = Math.min(Math.max(first, from + share * width), last - width);
      if (view) look([start, start + width]);
    };
    const middle = () => shown().reduce((a, b) => a + b) / 2;
    const KEYS = {
      '+': () => by(0.6, middle()), '=': () => by(0.6, middle()), '-': () => by(1 / 0.6, middle()),
      ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25), 0: () => look(null), Home: () => look(null), Escape: () => look(null),
    };
    const listeners = {
      keydown(event) {
        if (!(event.key in KEYS) || !points.length || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        KEYS[event.key]();
      },
      wheel(event) { // scrolls the page until the chart is chosen by a click
        if (!scale || !points.length || document.activeElement !== picture) return;
        event.preventDefault();
        by(event.deltaY < 0 ? 0.8 : 1.25, stepAt(event));
      },
      pointerdown(event) {
        if (!scale || !points.length || event.button) return;
        picture.focus({ preventScroll: true });
        drag = { from: stepAt(event), x: event.clientX };
        picture.setPointerCapture(event.pointerId);
      },
      pointermove(event) {
        if (!scale || !points.length) return;
        tell(stepAt(event));
        if (!drag) return;
        const [a, b] = [drag.from, stepAt(event)].map(scale.x).sort((p, q) => p - q);
        for (const [name, value] of [['x', a], ['width', b - a], ['visibility', 'visible']]) scale.chosen.setAttribute(name, value);
      },
      pointerup(event) {
        const begun = drag;
        drag = null;
        if (!begun || !scale) return;
        const [a, b] = [begun.from, stepAt(event)].sort((p, q) => p - q);
        if (Math.abs(event.clientX - begun.x) > 8 && b - a >= 2) look([a, b]);
        else draw();
      },
      pointercancel() {
        drag = null;
        draw();
      },
      dblclick: () => look(null),
      pointerleave() {
        if (scale) scale.cursor.setAttribute('visibility', 'hidden');
        rest();
      },
    };
    for (const [name, listener] of Object.entries(listeners)) picture.addEventListener(name, listener, { passive: false });
    new ResizeObserver(() => draw()).observe(picture);

    return {
      node, picture,
      view: () => view,
      set(newPoints, totalSteps) {
        if (newPoints[0] !== points[0]) view = null; // another run
        points = newPoints;
        total = totalSteps;
        show(whole, view);
        if (!drag) draw();
      },
    };
  }

  tl.chart = { chart };
})(trainLora);
