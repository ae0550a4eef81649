// Puts the tab together and into the page, and starts it. The elements are made once and survive a redraw by gradio.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  // id, title, part of the page it comes with, its panel
  const PANELS = [
    ['pictures', 'Pictures', 'tab', () => tl.pictures.panel()], ['recipe', 'Recipe', 'tab', () => tl.recipePanel.panel()],
    ['bake', 'Bake', 'bake', () => tl.bake.panel()], ['results', 'Results', 'results', () => tl.results.panel()],
    ['tools', 'Tools', 'tools', () => tl.tools.panel()],
  ];

  let chosen = 'pictures', tabs = null;
  const opened = {}; // id: promise of the panel

  /** The panel's content, made when its sub-tab is first opened; it is told what it missed. */
  function open(item) {
    opened[item.id] = opened[item.id] || (async () => {
      const { fill, note } = tl.dom;
      try {
        await tl.load(item.part);
        item.panel.replaceChildren(item.make());
        if (tl.status) tl.emit('status', tl.status);
        if (tl.current) tl.emit('run', tl.current);
        if (chosen === item.id) tl.emit('tab', item.id);
      } catch (error) {
        delete opened[item.id];
        fill(item.panel, Date.now(), () => note('bad', error.message, 'Look whether the web UI is still running, then open this sub-tab again.'));
      }
    })();
    return opened[item.id];
  }

  function build() {
    const { el } = tl.dom;
    const items = PANELS.map(([id, title, part, make]) => ({ id, title, part, make, panel: el('div', {}) }));
    for (const item of items.filter((one) => one.part === 'tab')) {
      item.panel.append(item.make());
      opened[item.id] = Promise.resolve();
    }
    tabs = tl.parts.tabs(items, 'Train LoRA', (id) => {
      chosen = id;
      tl.store.set('tab', id);
      open(items.find((item) => item.id === id));
      tl.emit('tab', id);
    });
    tl.tab.frame = el('div', { class: 'tl-frame' }, tl.head.head(), tl.head.runbar(), tl.outcome.outcome(), tabs.list, items.map((item) => item.panel));
    tabs.select(tl.store.get('tab', 'pictures'));
    new IntersectionObserver(() => tl.live.poke()).observe(tl.tab.frame);
  }

  async function loadSchema() {
    try {
      const schema = await tl.api.get('schema');
      tl.recipe.load(schema, (tl.status && tl.status.host) || {}, given());
    } catch (error) {
      console.error('Train LoRA: no schema yet:', error.message);
      setTimeout(loadSchema, 5000);
    }
  }

  /** Settings the page itself came with (the stand-alone demo). */
  function given() {
    const root = tl.host.find('#train-lora-root');
    return root && root.dataset.settings ? JSON.parse(root.dataset.settings) : null;
  }

  async function start() {
    build();
    mount();
    await tl.live.start();
    await loadSchema();
  }

  /** Into the root, wherever gradio has put it by now. */
  function mount() {
    const root = tl.host.find('#train-lora-root');
    if (root && tl.tab.frame && tl.tab.frame.parentElement !== root) root.replaceChildren(tl.tab.frame);
  }

  tl.tab = {
    frame: null,
    start,
    mount,
    visible: () => Boolean(tl.tab.frame && tl.tab.frame.isConnected && tl.tab.frame.offsetParent !== null),
    showing: (id) => chosen === id,
    /** Show a sub-tab; done when its content is there. */
    select: (id) => {
      if (tabs) tabs.select(id);
      return opened[id];
    },
  };
})(trainLora);
