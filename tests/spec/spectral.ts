/** A linter of OpenAPI documents. */
import { inherit, install, type Subject } from './tool.ts'

const VERSION = '6.16.3'

export async function runSpectral({ specUrl }: Subject): Promise<number> {
  const spectral = ['npx', '-y', `@stoplight/spectral-cli@${VERSION}`]
  await install([...spectral, '--version'])
  const rules = ['--ruleset', 'tests/spec/spectral.yaml', '--fail-severity', 'hint']
  return inherit([...spectral, 'lint', specUrl, ...rules])
}
