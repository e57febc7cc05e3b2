/** A Python that can run API.md's client: with httpx, installed for these tests alone where it isn't there. */
import { rename, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { findProgram, run } from './processes.ts'

const HTTPX = 'httpx==0.28.1'
/** Kept between runs, in this checkout. */
const ENVIRONMENT = fileURLToPath(new URL('../../node_modules/.cache/python_httpx', import.meta.url))
const CHECK_TIMEOUT_MS = 15_000
const INSTALL_TIMEOUT_MS = 120_000

/** The interpreter, or why there is none. */
export type Python = { path: string } | { missing: string }

/** Looks for a python3 that has httpx; else makes a virtual environment and installs it there. Throws nothing. */
export async function findPython(): Promise<Python> {
  const python = findProgram('python3')
  if (!python) return { missing: 'no python3' }
  const installed = `${ENVIRONMENT}/bin/python`
  for (const path of [python, installed]) if (await hasHttpx(path)) return { path }
  const fresh = `${ENVIRONMENT}.${process.pid}`
  try {
    await run([python, '-m', 'venv', fresh], INSTALL_TIMEOUT_MS)
    await run(
      [`${fresh}/bin/python`, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', HTTPX],
      INSTALL_TIMEOUT_MS,
    )
    // Whole from the moment that others can see it.
    await rm(ENVIRONMENT, { recursive: true, force: true })
    await rename(fresh, ENVIRONMENT)
    return { path: installed }
  } catch (error) {
    await rm(fresh, { recursive: true, force: true })
    const reason = error instanceof Error ? error.message : String(error)
    return { missing: `httpx can't be installed: ${reason.split('\n')[0]}` }
  }
}

async function hasHttpx(python: string): Promise<boolean> {
  return run([python, '-c', 'import httpx'], CHECK_TIMEOUT_MS).then(
    () => true,
    () => false, // no such Python, or one without httpx
  )
}
