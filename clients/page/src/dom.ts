/** The element of page.html with this id. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id)
  if (!element) throw new Error(`page.html has no #${id}`)
  return element as E
}

/** A new element. Children that are strings are text, never markup: what others wrote is shown and not obeyed. */
export function make(tag: string, className = '', ...children: (Node | string)[]): HTMLElement {
  const element = document.createElement(tag)
  if (className) element.className = className
  element.append(...children)
  return element
}

/** One of the icons of page.html. */
export function icon(name: string): SVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('aria-hidden', 'true')
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use')
  use.setAttribute('href', `#i-${name}`)
  svg.append(use)
  return svg
}

/** Copies a text, also on a page that came by plain http from elsewhere, where there is no clipboard. */
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    const area = make('textarea', 'unseen') as HTMLTextAreaElement
    area.value = text
    const before = document.activeElement
    // A dialog makes everything outside of it inert.
    ;(document.querySelector('dialog[open]') ?? document.body).append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
    if (before instanceof HTMLElement) before.focus()
  }
}

/** A button says for a moment that it has copied, and to screen readers too. */
export function confirmCopied(button: HTMLElement): void {
  const before = [...button.childNodes]
  const label = button.getAttribute('aria-label')
  button.replaceChildren(make('span', '', button.classList.contains('icon') ? '✓' : 'Copied'))
  if (label) button.setAttribute('aria-label', 'Copied')
  setTimeout(() => {
    button.replaceChildren(...before)
    if (label) button.setAttribute('aria-label', label)
  }, 1_200)
}
