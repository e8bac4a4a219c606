// Makes an element's children equal to some HTML by changing only what differs: focus, selection, scroll position and
// hover survive, and nothing flickers. Children with data-key are matched by it, others by place and kind.

export function morph(target, html, prepare) {
  const template = document.createElement("template");
  template.innerHTML = html;
  prepare(template.content);
  patchChildren(target, template.content);
}

function patchChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const key = node.dataset?.key;
    const match = key ? keyed.get(key) : at && !at.dataset?.key && at.nodeName === node.nodeName ? at : null;
    if (!match) {
      old.insertBefore(node, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    patchNode(match, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function patchNode(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  patchChildren(old, fresh);
}
