/** Texts that must not come out, and the search for them in whatever form something may have given them. */

/** A text that was planted; no two have anything in common. */
export interface Planted {
  name: string
  text: string
  /** What is looked for: parts of the text that nothing else contains. */
  cores: readonly string[]
}

const encoder = new TextEncoder()

/** Letters and digits alone, as a key or a password may be. */
export function plantWord(name: string): Planted {
  const core = `pl${Buffer.from(crypto.getRandomValues(new Uint8Array(15))).toString('hex')}`
  return { name, text: core, cores: [core] }
}

/** With what is escaped on the way: `around` holds the word. */
export function plantAround(name: string, around: (word: string) => string): Planted {
  const { text, cores } = plantWord(name)
  return { name, text: around(text), cores }
}

/** As a player reads it: a word, quotes, a line end, and Chinese, which is looked for as well. */
export function plantGameText(name: string): Planted {
  const { text, cores } = plantWord(name)
  const chinese = String.fromCodePoint(
    ...crypto.getRandomValues(new Uint16Array(8)).map((n) => 0x4e00 + (n % 0x5000)),
  )
  return { name, text: `"${text}"\n'${chinese}' 💥 %s`, cores: [...cores, chinese] }
}

/** Where the texts stand in `shown`: `<name> as <form>`. */
export function findPlanted(shown: string, planted: readonly Planted[]): string[] {
  const lower = shown.toLowerCase()
  return planted.flatMap(({ name, cores }) =>
    cores.flatMap((core) =>
      formsOf(core)
        .filter(({ form, exact }) => (exact ? shown.includes(form) : lower.includes(form.toLowerCase())))
        .map(({ way }) => `${name} ${way}`),
    ),
  )
}

const known = new Map<string, Form[]>()

interface Form {
  way: string
  form: string
  /** Base64 tells small letters from capitals. */
  exact?: boolean
}

function formsOf(core: string): Form[] {
  const forms = known.get(core) ?? makeForms(core)
  known.set(core, forms)
  return forms
}

function makeForms(core: string): Form[] {
  const bytes = encoder.encode(core)
  const eachByte = (before: string) =>
    [...bytes].map((byte) => `${before}${byte.toString(16).padStart(2, '0')}`).join('')
  const units = Array.from({ length: core.length }, (_, n) =>
    core.charCodeAt(n).toString(16).padStart(4, '0'),
  )
  return [
    { way: 'as it is', form: core },
    ...(encodeURIComponent(core) === core ? [] : [{ way: 'in a URL', form: encodeURIComponent(core) }]),
    { way: 'in a URL, every byte', form: eachByte('%') },
    { way: 'in JSON, every character', form: units.map((unit) => `\\u${unit}`).join('') },
    { way: 'in hex', form: eachByte('') },
    { way: 'in hex with spaces', form: eachByte(' ').trim() },
    { way: 'in the words of a database', form: eachByte('\\x') },
    ...base64Forms(bytes),
  ]
}

/** Base64 writes three bytes at once: what a text becomes depends on how many stand before it. */
function base64Forms(bytes: Uint8Array): Form[] {
  return [0, 1, 2].flatMap((before) => {
    const shifted = Buffer.concat([Buffer.alloc(before), bytes])
    const whole = shifted.subarray(0, shifted.length - (shifted.length % 3))
    // The first of the characters hold bits of what stands before.
    const form = whole.toString('base64').slice(before === 0 ? 0 : before + 1)
    return [form, form.replaceAll('+', '-').replaceAll('/', '_')].map((one) => ({
      way: 'in base64',
      form: one,
      exact: true,
    }))
  })
}
