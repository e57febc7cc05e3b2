FROM oven/bun:1.4.5-slim AS deps
WORKDIR /app
COPY package.json bun.lock ./
RUN bun install --frozen-lockfile --production

FROM oven/bun:1.4.5-slim
WORKDIR /app
ENV NODE_ENV=production DATA_DIR=/data
COPY --from=deps /app/node_modules node_modules
COPY package.json ./
COPY sql sql
COPY src src
COPY tools/keys tools/keys
# The embedded stores and the instance's id: give every instance a volume of its own.
RUN install -d -o bun -g bun /data
VOLUME /data
USER bun
EXPOSE 8001
STOPSIGNAL SIGTERM
# Alive, not ready: an instance that waits for its database must not be replaced for it. Over TLS it is asked the same,
# by an address that is in no certificate.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["bun", "-e", "const at = `127.0.0.1:${process.env.SERVICE_PORT || 8001}/health/live`; const ask = (scheme) => fetch(`${scheme}://${at}`, { tls: { rejectUnauthorized: false } }).then(({ ok }) => ok, () => false); process.exit((await ask('http')) || (await ask('https')) ? 0 : 1)"]
CMD ["bun", "src/main.ts"]
