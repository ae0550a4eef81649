// Puts the tab together and into the page, and starts it. The elements are made once and survive a redraw by gradio.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const PANELS = [['pictures', 'Pictures', () => tl.pictures.panel()], ['recipe', 'Recipe', () => tl.recipePanel.panel()],
    ['bake', 'Bake', () => tl.bake.panel()], ['results', 'Results', () => tl.results.panel()], ['tools', 'Tools', () => tl.tools.panel()]];

  let chosen = 'pictures', tabs = null;

  tl.tab = {
    frame: null,
    visible: () => Boolean(tl.tab.frame && tl.tab.frame.isConnected && tl.tab.frame.offsetParent !== null),
    showing: (id) => chosen === id,
    select: (id) => tabs && tabs.select(id),
  };

  function build() {
    const { el } = tl.dom;
    const items = PANELS.map(([id, title, make]) => ({ id, title, panel: make() }));
    tabs = tl.parts.tabs(items, 'Train LoRA', (id) => {
      chosen = id;
      tl.store.set('tab', id);
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

  /** Where the API asks for a password but the page does not: shows the routes that we are this page. */
  function identify() {
    const root = tl.host.find('#train-lora-root');
    if (root && root.dataset.token) document.cookie = `train-lora-page=${root.dataset.token}; path=/; SameSite=Strict`;
  }

  async function start() {
    identify();
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

  let started = false;

  tl.boot = function () {
    if (!started && tl.host.find('#train-lora-root')) {
      started = true;
      start();
    }
    mount();
    tl.again.decorate();
  };

  if (typeof onUiLoaded === 'function') onUiLoaded(tl.boot);
  if (typeof onAfterUiUpdate === 'function') onAfterUiUpdate(tl.boot);
})(trainLora);
