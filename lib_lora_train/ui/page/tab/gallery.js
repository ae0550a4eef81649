// “Send to the training set” below the galleries of txt2img and img2img: the picture that is shown there, with its prompt.
var trainLora = window.trainLora || {};

(function (tl) {
  'use strict';

  /** The enlarged picture, else the first. */
  function picture(tab) {
    const gallery = tl.host.find(`#${tab}_gallery`);
    if (!gallery) return null;
    return gallery.querySelector('.preview img, [data-testid="detailed-image"]') || gallery.querySelector('.thumbnail-item.selected img') || gallery.querySelector('img');
  }

  function prompt(tab) {
    const area = tl.host.find(`#${tab}_prompt textarea`);
    return area ? area.value : '';
  }

  /** What happened, beside the button, for a few seconds. */
  function say(node, words) {
    const said = tl.dom.el('span', { class: 'train-lora-said', role: 'status' }, words);
    for (const old of node.parentElement.querySelectorAll('.train-lora-said')) old.remove();
    node.after(said);
    setTimeout(() => said.remove(), 6000);
  }

  async function send(tab, node) {
    const image = picture(tab);
    if (!image) {
      say(node, 'No picture yet.');
      return;
    }
    node.disabled = true;
    try {
      const content = await (await fetch(image.src)).blob();
      const answer = await tl.api.upload({ folder: tl.recipe.values.train_data_dir || '', caption: prompt(tab) }, content, 'collect/file');
      tl.recipe.set('train_data_dir', answer.folder);
      tl.recipe.recheckNow();
      say(node, `Sent to the training set: ${tl.fmt.plural(answer.count, 'picture')}.`);
    } catch (error) {
      say(node, [error.message, error.remedy].filter(Boolean).join(' '));
    } finally {
      node.disabled = false;
    }
  }

  tl.gallery = { send };
})(trainLora);
