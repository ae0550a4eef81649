// What the page around us can do: its tabs, its prompt box, its card panel. Works with gradio 3, 4 and later.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  const page = () => (typeof gradioApp === 'function' ? gradioApp() : document);
  const find = (selector) => page().querySelector(selector);

  /** Top-level tab buttons stand in the order of their panels; texts may be translated, so ids decide. */
  function tabButton(id) {
    const byId = find(`#${id}-button`);
    if (byId) return byId;
    const panel = find(`#${id}`);
    if (!panel) return null;
    const panels = [...panel.parentElement.children].filter((node) => node.id.startsWith('tab_'));
    const nav = find('#tabs > .tab-nav') || find('#tabs [role=tablist]');
    return nav ? nav.querySelectorAll(':scope > button')[panels.indexOf(panel)] || null : null;
  }

  function switchTo(id) {
    const button = tabButton(id);
    if (button) button.click();
    return Boolean(button);
  }

  /** Type into one of gradio's text boxes, so that gradio notices. */
  function type(area, value) {
    area.value = value;
    area.dispatchEvent(new Event('input', { bubbles: true }));
  }

  const escaped = (words) => words.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

  /** The prompt with `<lora:name:weight> words` in it; what stood there stays, but the same LoRA is not called twice. */
  function withLora(prompt, name, weight, words) {
    const others = prompt.replace(new RegExp(`\\s*<lora:${escaped(name)}(:[^>]*)?>`, 'g'), '').trim();
    const missing = words && !others.includes(words) ? words : '';
    const start = [others, missing].filter(Boolean).join(', ');
    return `<lora:${name}:${weight}>${start ? ' ' + start : ''}`;
  }

  /** The element as soon as it is there: newer gradio makes a tab's content when it is first opened. */
  async function waitFor(selector, seconds) {
    for (let waited = 0; waited < seconds; waited += 0.05) {
      const found = find(selector);
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return null;
  }

  const hasTxt2img = () => Boolean(tabButton('tab_txt2img'));

  /** Open txt2img with the LoRA and its trigger in the prompt. False when this page has no txt2img. */
  async function tryInTxt2img(name, words, weight) {
    if (!switchTo('tab_txt2img')) return false;
    const area = await waitFor('#txt2img_prompt textarea', 5);
    if (!area) return false;
    type(area, withLora(area.value, name, weight > 0 ? weight : 1, words || ''));
    refreshCards();
    return true;
  }

  /** Make the card panels read the LoRA folder again. */
  function refreshCards() {
    for (const tab of ['txt2img', 'img2img']) {
      const internal = find(`#${tab}_lora_extra_refresh_internal`);
      const button = internal || find(`#${tab}_lora_extra_refresh`);
      if (button) button.dispatchEvent(new Event('click', { bubbles: true }));
    }
  }

  tl.host = { page, find, switchTo, type, withLora, hasTxt2img, tryInTxt2img, refreshCards };
})(trainLora);
