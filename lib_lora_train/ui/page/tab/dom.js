// Making and changing elements, and numbers as people read them. Data only ever becomes text, never markup.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const SVG = 'http://www.w3.org/2000/svg';

  function assign(node, props) {
    for (const [name, value] of Object.entries(props || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
      else if (name === 'value') node.value = value;
      else node.setAttribute(name, value === true ? '' : String(value));
    }
  }

  /** An element: `el('button', {class: 'tl-go', on: {click}}, 'Train')`. Strings among `children` become text. */
  function el(tag, props, ...children) {
    const node = document.createElement(tag);
    assign(node, props);
    node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  function svg(tag, props, ...children) {
    const node = document.createElementNS(SVG, tag);
    assign(node, props);
    node.append(...children);
    return node;
  }

  /** Change a text in place: hosts watch the page for added nodes, and a text that changes each second adds none. What
   * is there already stays as it is, perhaps translated by the host. */
  function text(node, value) {
    const wanted = String(value);
    if (node.tlText === wanted) return;
    node.tlText = wanted;
    const first = node.firstChild;
    if (first && first.nodeType === Node.TEXT_NODE && !first.nextSibling) first.data = wanted;
    else node.replaceChildren(wanted);
  }

  function show(node, visible) {
    if (node.hidden === Boolean(visible)) node.hidden = !visible;
  }

  /** Attribute in place, without a mutation when nothing changed. */
  function attr(node, name, value) {
    if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }

  /** Rebuild the children of `node` by `make(data)` only when the data changed. */
  function fill(node, data, make) {
    const signature = JSON.stringify(data);
    if (node.tlSignature === signature) return;
    node.tlSignature = signature;
    node.replaceChildren(...[make(data)].flat(2).filter(Boolean));
  }

  /** A message with its remedy; `kind` is warn, bad, ok or info. */
  function note(kind, message, remedy, ...more) {
    return el('div', { class: `tl-note tl-${kind}`, role: kind === 'bad' ? 'alert' : null },
      el('span', {}, message), remedy ? el('span', { class: 'tl-remedy' }, ' ' + remedy) : null, ...more);
  }

  function button(label, click, props) {
    return el('button', { type: 'button', class: 'tl-button', ...props, on: { click } }, label);
  }

  /** A button that looks like a link. */
  function link(label, click, props) {
    return button(label, click, { class: 'tl-link', ...props });
  }

  /** What stands between `backticks` of a text is shown as code. */
  const withCode = (words) => words.split('`').map((part, index) => (index % 2 ? el('code', {}, part) : part));

  tl.dom = { el, svg, text, show, attr, fill, note, button, link, withCode };

  const whole = (value) => Math.round(value).toLocaleString('en-US');

  function duration(seconds) {
    if (!(seconds >= 0) || !isFinite(seconds)) return '';
    if (seconds < 3) return `${seconds.toFixed(1)} s`;
    if (seconds < 90) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  function clock(seconds) {
    const s = Math.max(0, Math.round(seconds));
    const two = (n) => String(n).padStart(2, '0');
    const hours = Math.floor(s / 3600);
    return (hours ? `${hours}:${two(Math.floor(s / 60) % 60)}` : Math.floor(s / 60)) + ':' + two(s % 60);
  }

  function speed(perSecond) {
    if (!(perSecond > 0)) return '';
    return perSecond >= 1 ? `${perSecond.toFixed(perSecond < 10 ? 2 : 1)} it/s` : `${(1 / perSecond).toFixed(1)} s/it`;
  }

  function number(value) {
    if (!Number.isFinite(value)) return 'not finite';
    if (value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e6)) {
      return value.toExponential(2).replace(/\.?0+e/, 'e');
    }
    return String(Number(value.toPrecision(4)));
  }

  const memory = (gigabytes) => (gigabytes < 0.05 ? 'under 0.1 GB' : `${gigabytes.toFixed(1)} GB`);
  const size = (megabytes) => (megabytes >= 1000 ? `${(megabytes / 1024).toFixed(1)} GB`
    : megabytes >= 10 ? `${Math.round(megabytes)} MB` : `${megabytes.toFixed(1)} MB`);

  const plural = (count, one, many) => `${whole(count)} ${count === 1 ? one : many || one + 's'}`;

  function moment(value) {
    const date = new Date(typeof value === 'number' ? value * 1000 : value);
    if (isNaN(date)) return '';
    return date.toLocaleString(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
  }

  tl.fmt = { whole, duration, clock, speed, number, memory, size, plural, moment };
})(trainLora);
