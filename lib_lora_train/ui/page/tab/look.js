// Pictures enlarged: arrows to the next one, two laid over each other with a slider between them, and what to do with one.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** `items`: `[{src, caption, detail}]`; `actions(item, close)` gives buttons for the one that is shown. */
  function pictures(items, start, actions) {
    const { el, button, text, show, fill } = tl.dom;
    let index = start, other = -1;
    const image = el('img', { class: 'tl-large', alt: '' });
    const over = el('img', { class: 'tl-large tl-laid', alt: '', hidden: true });
    const slider = el('input', { type: 'range', min: 0, max: 100, value: 50, 'aria-label': 'Border between the two pictures', hidden: true, on: { input: part } });
    const sides = el('p', { class: 'tl-row tl-sides', hidden: true });
    const caption = el('p', { class: 'tl-caption' }), detail = el('p', { class: 'tl-dim' });
    const deeds = el('div', { class: 'tl-row tl-tight' });
    const named = (item) => [item.detail, item.caption].filter(Boolean).join(': ').slice(0, 90);
    const choice = el('select', { 'aria-label': 'Compare with', class: 'tl-compare', on: { change: () => { other = Number(choice.value); draw(); } } },
      el('option', { value: -1 }, 'Compare with…'), items.map((item, number) => el('option', { value: number }, named(item))));

    function part() {
      over.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    }
    function draw() {
      const item = items[index], two = other >= 0 && other !== index;
      Object.assign(image, { src: item.src, alt: item.caption });
      if (two) Object.assign(over, { src: items[other].src, alt: items[other].caption });
      for (const node of [over, slider, sides]) show(node, two);
      for (const one of choice.options) one.disabled = Number(one.value) === index; // not with itself
      part();
      fill(sides, [index, other], () => (two ? [el('span', {}, `left: ${item.detail || ''}`), el('span', { class: 'tl-end' }, `right: ${items[other].detail || ''}`)] : null));
      text(caption, item.caption);
      text(detail, item.detail || '');
      fill(deeds, [index], () => (actions ? actions(item, close) : null));
    }
    function step(by) {
      index = (index + by + items.length) % items.length;
      draw();
    }
    function close() {
      dialog.close();
      dialog.remove();
    }
    const keys = (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by && !/^(INPUT|SELECT)$/.test(event.target.tagName)) step(by);
    };
    const several = items.length > 1;
    const dialog = el('dialog', {
      class: 'tl-dialog tl-viewer', 'aria-label': 'Picture',
      on: { keydown: keys, cancel: close, click: (event) => event.target === dialog && close() },
    }, el('div', { class: 'tl-stack' }, image, over), slider, sides, caption, detail, deeds,
    el('div', { class: 'tl-row' }, several ? [button('Previous', () => step(-1)), button('Next', () => step(1)), choice] : null,
      button('Close', close, { autofocus: true })));
    draw();
    tl.parts.open(dialog);
  }

  tl.look = { pictures };
})(trainLora);
