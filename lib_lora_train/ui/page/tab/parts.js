// Pieces used by more than one panel: tabs, questions, a picture enlarged, the progress track.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** A tab list after the ARIA pattern: arrows, Home and End move. `items`: `[{id, title, panel}]`. */
  function tabs(items, label, chosen) {
    const { el, show, attr } = tl.dom;
    const buttons = items.map((item, index) => el('button', {
      type: 'button', role: 'tab', class: 'tl-tab', id: `train_lora_tab_${item.id}`,
      'aria-controls': `train_lora_panel_${item.id}`,
      on: { click: () => select(item.id), keydown: (event) => move(event, index) },
    }, item.title));
    const list = el('div', { role: 'tablist', class: 'tl-tabs', 'aria-label': label }, buttons);
    for (const item of items) {
      item.panel.id = `train_lora_panel_${item.id}`;
      item.panel.setAttribute('role', 'tabpanel');
      item.panel.setAttribute('aria-labelledby', `train_lora_tab_${item.id}`);
    }

    function move(event, index) {
      const last = items.length - 1;
      const target = {
        ArrowRight: index === last ? 0 : index + 1, ArrowLeft: index ? index - 1 : last, Home: 0, End: last,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      select(items[target].id);
      buttons[target].focus();
    }

    function select(id) {
      const wanted = items.some((item) => item.id === id) ? id : items[0].id;
      items.forEach((item, index) => {
        const on = item.id === wanted;
        attr(buttons[index], 'aria-selected', on);
        attr(buttons[index], 'tabindex', on ? 0 : -1);
        show(item.panel, on);
      });
      chosen(wanted);
    }

    return { list, select };
  }

  /** Escape closes the dialog; the web UI's own shortcuts behind it do not hear of it. */
  const escapes = (event) => event.key === 'Escape' && event.stopPropagation();

  function open(dialog) {
    tl.tab.frame.append(dialog);
    window.addEventListener('keydown', escapes, true);
    dialog.addEventListener('close', () => window.removeEventListener('keydown', escapes, true), { once: true });
    dialog.showModal();
  }

  /** A question in front of the page: words, or elements to fill in. `choices`: `[[label, value, main]]`; gives the value,
   * or null when closed. The browser keeps the focus inside and gives it back. */
  function ask(title, message, choices) {
    const { el } = tl.dom;
    return new Promise((resolve) => {
      const close = (value) => {
        dialog.close();
        dialog.remove();
        resolve(value);
      };
      const buttons = choices.map(([label, value, main]) =>
        tl.dom.button(label, () => close(value), { class: main ? 'tl-button tl-go' : 'tl-button' }));
      const enter = (event) => {
        if (event.key !== 'Enter' || !event.target.matches('input[type=text]')) return;
        event.preventDefault();
        close(choices.find((choice) => choice[2])[1]);
      };
      const dialog = el('dialog', { class: 'tl-dialog', 'aria-label': title, on: { cancel: () => close(null), keydown: enter } },
        el('h3', {}, title), typeof message === 'string' ? el('p', {}, message) : el('div', { class: 'tl-asked' }, message),
        el('div', { class: 'tl-row' }, buttons));
      open(dialog);
      const first = dialog.querySelector('input[type=text]');
      if (first) first.select();
    });
  }

  /** Pictures enlarged, with arrows to the next one. `items`: `[{src, caption, detail}]`. */
  function viewer(items, start) {
    const { el } = tl.dom;
    let index = start;
    const image = el('img', { class: 'tl-large', alt: '' });
    const caption = el('p', { class: 'tl-caption' });
    const detail = el('p', { class: 'tl-dim' });
    const step = (by) => {
      index = (index + by + items.length) % items.length;
      image.src = items[index].src;
      image.alt = items[index].caption;
      tl.dom.text(caption, items[index].caption);
      tl.dom.text(detail, items[index].detail || '');
    };
    const close = () => {
      dialog.close();
      dialog.remove();
    };
    const keys = (event) => {
      if (event.key === 'ArrowRight') step(1);
      if (event.key === 'ArrowLeft') step(-1);
    };
    const several = items.length > 1;
    const dialog = el('dialog', {
      class: 'tl-dialog tl-viewer', 'aria-label': 'Picture',
      on: { keydown: keys, cancel: close, click: (event) => event.target === dialog && close() },
    }, image, caption, detail, el('div', { class: 'tl-row' },
      several ? tl.dom.button('Previous', () => step(-1)) : null,
      several ? tl.dom.button('Next', () => step(1)) : null,
      tl.dom.button('Close', close, { autofocus: true })));
    step(0);
    open(dialog);
  }

  /** A progress track with its ARIA values; `set(done, total, words)`. */
  function track(label) {
    const { el, attr } = tl.dom;
    const inner = el('i', {});
    const node = el('div', { class: 'tl-track', role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 }, inner);
    return {
      node,
      set(done, total, words) {
        const percent = total > 0 ? Math.min(100, (100 * done) / total) : 0;
        inner.style.width = percent.toFixed(1) + '%';
        node.classList.toggle('tl-unknown', !(total > 0));
        attr(node, 'aria-valuenow', Math.round(percent));
        attr(node, 'aria-valuetext', words);
      },
    };
  }

  /** Run `action` with the button off meanwhile; what goes wrong appears in `place`. */
  async function busy(node, place, action) {
    const { fill, note } = tl.dom;
    node.disabled = true;
    try {
      fill(place, null, () => null);
      return await action();
    } catch (error) {
      fill(place, [error.message, error.remedy, Date.now()], () => note('bad', error.message, error.remedy));
      return null;
    } finally {
      node.disabled = false;
    }
  }

  tl.parts = { tabs, open, ask, viewer, track, busy };
})(trainLora);
