// What A1111's own script gives to ours, for the page without a web UI, and that page's LoRA cards.
var gradioApp = () => document;

(function () {
  'use strict';

  const loaded = [], afterUpdate = [];
  window.onUiLoaded = (callback) => loaded.push(callback);
  window.onAfterUiUpdate = (callback) => afterUpdate.push(callback);

  let isLoaded = false, timer = 0;

  function settled() {
    if (!isLoaded && document.querySelector('#tabs')) {
      isLoaded = true;
      loaded.forEach((callback) => callback());
    }
    afterUpdate.forEach((callback) => callback());
    const place = document.querySelector('#train-lora-cards');
    if (place && !place.firstElementChild) drawCards();
  }

  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(settled, 100);
    }).observe(document.body, { childList: true, subtree: true });
  });

  function put(words) {
    const area = document.querySelector('#txt2img_prompt textarea');
    area.value = area.value.includes(words) ? area.value : `${area.value} ${words}`.trim();
    area.dispatchEvent(new Event('input', { bubbles: true }));
  }

  function card({ name, prompt, thumbnail }) {
    const { el } = trainLora.dom;
    const address = `train-lora/page/thumbnail?${new URLSearchParams({ name, t: thumbnail })}`;
    const picture = thumbnail ? el('img', { src: address, alt: '' }) : el('div', { class: 'no-picture' }, 'no picture');
    return el('div', { class: 'card', 'data-name': name, on: { click: () => put(prompt) } }, picture,
      el('div', { class: 'button-row' }), el('div', { class: 'actions' }, el('span', { class: 'name' }, name)));
  }

  async function drawCards() {
    await trainLora.wake();
    const { el, button } = trainLora.dom;
    const place = document.querySelector('#train-lora-cards');
    if (!place) return;
    let list;
    try {
      list = await (await fetch('train-lora/page/cards', { cache: 'no-store' })).json();
    } catch (error) {
      place.replaceChildren(el('b', {}, 'The LoRA cards cannot be read: the page’s program does not answer.'));
      return;
    }
    place.replaceChildren(
      el('div', { class: 'cards-head' }, el('b', {}, 'LoRA'), button('Refresh', drawCards, { id: 'txt2img_lora_extra_refresh' })),
      el('div', { id: 'txt2img_lora_cards' }, list.length ? list.map(card) : 'No LoRA yet: train one.'));
  }
})();
