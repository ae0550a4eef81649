// All that is on the page from the start: the button on LoRA cards, and loading the tab's parts when they are first used.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const page = () => (typeof gradioApp === 'function' ? gradioApp() : document);
  const root = () => page().querySelector('#train-lora-root');
  const parts = {}; // name: promise of a part that is loaded, or on its way

  /** Where the API asks for a password but the page does not: shows the routes that we are this page. */
  function identify() {
    const { token } = root().dataset;
    if (token) document.cookie = `train-lora-page=${token}; path=/; SameSite=Strict`;
  }

  /** A script or style sheet into the page's head; rejected when it does not come. */
  function fetched(tag, props) {
    return new Promise((resolve, reject) => {
      const node = document.createElement(tag);
      node.onload = resolve;
      node.onerror = () => {
        node.remove();
        reject(new Error('A part of the Train LoRA tab did not load.'));
      };
      document.head.append(Object.assign(node, props));
    });
  }

  const address = (name) => tl.api.url('page', { name, v: root().dataset.version || '' });

  /** Load a part of the page (a folder of `lib_lora_train/ui/page`), once; after a failure it may be tried again. */
  tl.load = function (part) {
    parts[part] = parts[part] || fetched('script', { src: address(`${part}.js`) }).catch((error) => {
      delete parts[part];
      throw error;
    });
    return parts[part];
  };

  let woken = null;

  async function begin() {
    identify();
    await Promise.all([fetched('link', { rel: 'stylesheet', href: address('tab.css') }), tl.load('tab')]);
    tl.tab.start();
  }

  /** Make the tab, once: when it is first looked at, or asked for by a card. */
  tl.wake = function () {
    woken = woken || begin().catch((error) => {
      woken = null;
      const place = root();
      if (place) place.textContent = `${error.message} Trying again…`;
      setTimeout(tl.wake, 5000);
    });
    return woken;
  };

  let watched = null;
  const sight = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && tl.wake());

  /** Gradio may put a new root in the place of the old one; the tab goes where it is now. */
  function look() {
    const place = root();
    if (!place) return;
    if (place !== watched) {
      sight.disconnect();
      sight.observe(place);
      watched = place;
      if (tl.store.get('on', '')) tl.wake(); // a run is watched also while another tab is open
    }
    if (tl.tab) tl.tab.mount();
    decorate();
  }

  function cardButton(name) {
    const node = document.createElement('div');
    const act = async (event) => {
      event.preventDefault();
      event.stopPropagation(); // the card itself would put the LoRA into the prompt
      await tl.wake();
      if (tl.again) tl.again.open(name);
    };
    Object.assign(node, { className: 'train-lora-again card-button', title: 'Train again', tabIndex: 0, onclick: act });
    node.setAttribute('role', 'button');
    node.setAttribute('aria-label', `Train ${name} again`);
    node.onkeydown = (event) => (event.key === 'Enter' || event.key === ' ') && act(event);
    return node;
  }

  /** LoRA cards of both prompt tabs, and the rows of their tree views: A1111's tells the name only as its label. */
  const LORAS = '[id$="_lora_cards"] .card[data-name], [id$="_lora_tree"] .tree-list-content-file';

  function nameOf(card) {
    const label = card.querySelector('.tree-list-item-label');
    return card.dataset.name || (label ? label.textContent.trim() : '');
  }

  /** `like`: one of the web UI's own beside it, whose look it takes. */
  function galleryButton(tab, like) {
    const node = document.createElement('button');
    const act = async () => {
      await tl.wake();
      if (tl.gallery) tl.gallery.send(tab, node);
    };
    Object.assign(node, { type: 'button', className: `${like ? like.className : 'lg secondary gradio-button tool'} train-lora-send`, textContent: '\u{1F393}', title: 'Send to the training set', onclick: act });
    node.setAttribute('aria-label', 'Send the picture to the training set');
    return node;
  }

  /** Give what lacks its button one; called after each change of the page. */
  function decorate() {
    for (const card of page().querySelectorAll(LORAS)) {
      const place = card.querySelector('.button-row');
      if (place && !place.querySelector('.train-lora-again')) place.prepend(cardButton(nameOf(card)));
    }
    for (const tab of ['txt2img', 'img2img']) {
      const row = page().querySelector(`#image_buttons_${tab}`);
      const place = row && (row.querySelector('.form') || row);
      if (place && !row.querySelector('.train-lora-send')) place.append(galleryButton(tab, row.querySelector('button.tool')));
    }
  }

  if (typeof onUiLoaded === 'function') onUiLoaded(look);
  if (typeof onAfterUiUpdate === 'function') onAfterUiUpdate(look);
})(trainLora);
