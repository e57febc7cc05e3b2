/** The service's own TLS: which versions it speaks, with which key, and that a wrong one ends the start. */
import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { findProgram, run } from '../support/processes.ts'
import { converse } from '../support/raw_socket.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { runService, type Service } from '../support/service.ts'
import { until } from '../support/waiting.ts'

const openssl = findProgram('openssl')
const title = openssl ? 'TLS' : 'TLS (left out: no openssl)'
const DOCKERFILE = fileURLToPath(new URL('../../Dockerfile', import.meta.url))
const TIMEOUT_MS = 30_000
const FAULT = 78

/** A key and its certificate for 127.0.0.1, in a folder. */
async function certificate(folder: string, name = 'own'): Promise<{ cert: string; key: string }> {
  const [cert, key] = [`${folder}/${name}.pem`, `${folder}/${name}.key`]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  await run([openssl!, 'req', '-x509', ...kind, ...subject, '-keyout', key, '-out', cert], TIMEOUT_MS)
  return { cert, key }
}

/** A service that speaks TLS, and what its clients know of it. */
async function secured(scene: Scene, env: Record<string, string> = {}) {
  const { cert, key } = await certificate(await scene.folder())
  const service = await scene.start({ TLS_CERT_FILE: cert, TLS_KEY_FILE: key, ...env }, 'listening')
  const url = service.url.replace('http:', 'https:')
  const get = (path: string, ca = readFileSync(cert, 'utf8')) => fetch(`${url}${path}`, { tls: { ca } })
  await until(async () => (await get('/health/ready')).status === 200, { message: 'the service is ready' })
  return { service, get, cert }
}

/** The version that a client gets who speaks that one alone; null = none. */
async function spoken(service: Service, version: string, ...more: string[]): Promise<string | null> {
  const { host } = new URL(service.url)
  const child = Bun.spawn([openssl!, 's_client', '-connect', host, version, ...more], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'ignore',
    timeout: TIMEOUT_MS,
  })
  const [out, code] = await Promise.all([child.stdout.text(), child.exited])
  const found = /^New, (TLSv[\d.]+), Cipher is (?!\(NONE\))/m.exec(out)?.[1] ?? null
  expect(code === 0).toBe(found !== null)
  return found
}

/** What a container is asked for its health with. */
async function healthcheck(port: string): Promise<number> {
  const command = /^HEALTHCHECK[^[]*CMD (\[.*\])$/m.exec(readFileSync(DOCKERFILE, 'utf8'))![1]!
  const [, ...args] = JSON.parse(command) as string[]
  const env = { PATH: process.env.PATH ?? '', SERVICE_PORT: port }
  return Bun.spawn([process.execPath, ...args], { env, stdout: 'ignore', stderr: 'ignore' }).exited
}

describe.skipIf(openssl === null && process.env.CI !== 'true')(title, () => {
  test('TLS 1.3 alone is spoken, whatever a client offers for older ones', async () => {
    await using scene = createScene()
    const { service, get } = await secured(scene)
    expect(await spoken(service, '-tls1_3')).toBe('TLSv1.3')
    for (const version of ['-tls1', '-tls1_1', '-tls1_2']) {
      expect(await spoken(service, version, '-cipher', 'ALL:@SECLEVEL=0')).toBeNull()
    }
    expect(service.logs.find(({ message }) => message === 'listening')?.meta?.url).toStartWith('https://')
    expect((await get('/health')).headers.get('strict-transport-security')).toContain('max-age=')
    expect(await service.stop()).toBe(0)
  }, 60_000)

  test('TLS_MIN_VERSION=1.2 adds 1.2, with forward secrecy and nothing older', async () => {
    await using scene = createScene()
    const { service } = await secured(scene, { TLS_MIN_VERSION: '1.2' })
    expect(await spoken(service, '-tls1_3')).toBe('TLSv1.3')
    expect(await spoken(service, '-tls1_2')).toBe('TLSv1.2')
    for (const version of ['-tls1', '-tls1_1']) {
      expect(await spoken(service, version, '-cipher', 'ALL:@SECLEVEL=0')).toBeNull()
    }
    for (const ciphers of ['AES128-SHA', 'AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-SHA']) {
      expect(await spoken(service, '-tls1_2', '-cipher', `${ciphers}:@SECLEVEL=0`)).toBeNull()
    }
  }, 60_000)

  test('the certificate is the one in the file, and plain HTTP gets no answer', async () => {
    await using scene = createScene()
    const { service, get } = await secured(scene)
    const { cert } = await certificate(await scene.folder())
    await expect(get('/health', readFileSync(cert, 'utf8'))).rejects.toThrow('certificate')
    const plain = await converse(service.url, { first: 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n' })
    expect(plain).toMatchObject({ text: '', closed: true })
  }, 60_000)

  test('who opens a connection and does not shake hands is cut off', async () => {
    await using scene = createScene()
    const { service } = await secured(scene)
    const [silent, stopped] = await Promise.all([
      converse(service.url, { first: '', forMs: 15_000 }),
      converse(service.url, { first: '\x16\x03\x01\x02\x00\x01\x00', forMs: 15_000 }),
    ])
    expect([silent.closed, stopped.closed]).toEqual([true, true])
  }, 60_000)

  test("the image's health check asks over TLS as well as without, and fails where nobody answers", async () => {
    await using scene = createScene()
    const { service } = await secured(scene)
    const plain = await scene.start({})
    const portOf = ({ url }: Service) => new URL(url).port
    expect(await healthcheck(portOf(service))).toBe(0)
    expect(await healthcheck(portOf(plain))).toBe(0)
    await plain.kill()
    expect(await healthcheck(portOf(plain))).toBe(1)
  }, 60_000)

  test('a file that is missing, or not what it should be, ends the start with 78 and names its variable', async () => {
    await using scene = createScene()
    const folder = await scene.folder()
    const [own, other] = [await certificate(folder), await certificate(folder, 'other')]
    const locked = `${folder}/locked.key`
    const lock = ['pkcs8', '-topk8', '-in', own.key, '-out', locked, '-passout', 'pass:x']
    await run([openssl!, ...lock], TIMEOUT_MS)
    for (const [TLS_CERT_FILE, TLS_KEY_FILE, says] of [
      [`${folder}/none.pem`, own.key, 'TLS_CERT_FILE: expected a file that can be read'],
      [own.cert, `${folder}/none.key`, 'TLS_KEY_FILE: expected a file that can be read'],
      [own.key, own.key, 'TLS_CERT_FILE: expected a certificate in PEM'],
      [own.cert, own.cert, 'TLS_KEY_FILE: expected a private key in PEM'],
      [own.cert, locked, 'TLS_KEY_FILE: expected a private key in PEM, not encrypted'],
      [own.cert, other.key, 'TLS_KEY_FILE: expected the key of the certificate in TLS_CERT_FILE'],
    ] as const) {
      const env = { DATA_DIR: await scene.folder(), SERVICE_PORT: '0', TLS_CERT_FILE, TLS_KEY_FILE }
      const { code, output } = await runService({ env })
      expect(output).toContain(says)
      expect(code).toBe(FAULT)
      expect(output).not.toContain('PRIVATE KEY-----')
    }
  }, 60_000)

  test('migrate needs no certificate', async () => {
    await using scene = createScene()
    const files = { TLS_CERT_FILE: '/none.pem', TLS_KEY_FILE: '/none.key' }
    const { code } = await runService({
      env: { DATA_DIR: await scene.folder(), ...files },
      args: ['migrate'],
    })
    expect(code).toBe(0)
  }, 60_000)
})
