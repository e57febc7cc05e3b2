import { expect, test } from 'bun:test'
import { findPlanted, plantAround, plantGameText, plantWord } from '../support/planted.ts'

const word = plantWord('word')
const game = plantGameText('game')
const url = plantAround('url', (inner) => `mysql://u:${encodeURIComponent(`p@${inner}:#`)}@host/db`)
const all = [word, game, url]

/** What may be made of a text on its way. */
const ways: Record<string, (text: string) => string> = {
  'as it is': (text) => text,
  'in the middle': (text) => `before${text}after`,
  'in JSON': (text) => JSON.stringify({ text }),
  'in JSON twice': (text) => JSON.stringify(JSON.stringify({ text })),
  'in a URL': encodeURIComponent,
  'in a query': (text) => new URLSearchParams({ text }).toString(),
  'in capitals': (text) => text.toUpperCase(),
  'in hex': (text) => Buffer.from(text).toString('hex'),
  'in capital hex': (text) => Buffer.from(text).toString('hex').toUpperCase(),
  'printed as bytes': (text) =>
    Bun.inspect(
      Buffer.from(text)
        .toJSON()
        .data.map((byte) => byte.toString(16))
        .join(' '),
    ),
  'in base64': (text) => Buffer.from(text).toString('base64'),
  'in base64 after one byte': (text) => Buffer.from(`x${text}`).toString('base64'),
  'in base64 after two': (text) => Buffer.from(`xy${text}`).toString('base64'),
  'in base64 of URLs, in the middle': (text) => Buffer.from(`user:${text}:more`).toString('base64url'),
}

test.each(Object.keys(ways))('a planted text is found %s', (way) => {
  for (const { name, text } of all) {
    const found = findPlanted(`noise ${ways[way]!(text)} noise`, all)
    expect(found.length).toBeGreaterThan(0)
    expect(found.every((line) => line.startsWith(`${name} `))).toBe(true)
  }
})

test('Chinese alone is found, in every form that a server gives it', () => {
  const chinese = game.cores[1]!
  const bytes = [...Buffer.from(chinese)].map((byte) => `\\x${byte.toString(16).toUpperCase()}`).join('')
  const ascii = [...chinese].map((char) => `\\u${char.charCodeAt(0).toString(16)}`).join('')
  for (const text of [
    chinese,
    encodeURIComponent(chinese),
    bytes,
    ascii,
    Buffer.from(`a${chinese}`).toString('base64'),
  ])
    expect(findPlanted(text, all)).not.toEqual([])
})

test('nothing is found where nothing is', () => {
  expect(findPlanted('', all)).toEqual([])
  expect(findPlanted(JSON.stringify([plantWord('other'), plantGameText('other')]), all)).toEqual([])
})
