/** What varies in stud.conf. */
export interface StudConfigArgs {
  /**
   * `source`: Hitch 1.8.0, mended by build-hitch.sh; `package`: Hitch 1.7.2, which knows fewer keys, and in which every
   * second reload ends all open connections.
   */
  studInstall: "source" | "package";
}

/** Without TLS 1.3's own: https://wiki.mozilla.org/Security/Server_Side_TLS, intermediate */
const ciphers = ["ECDSA", "RSA"]
  .flatMap((key) =>
    ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"].map(
      (cipher) => `ECDHE-${key}-${cipher}`,
    ),
  )
  .join(":");

/** The complete stud.conf; Hitch, Stud's successor, reads it. */
export function studConfig({ studInstall }: StudConfigArgs): string {
  return `#bind to default SSL port
frontend = "[*]:443"

#haproxy host and port
backend = "[127.0.0.1]:8080"
write-proxy-v2 = on

#location of the .pem files; a client that names no site gets the first
pem-dir = "/etc/stud/pem"
pem-dir-glob = "*.pem"

tls-protos = TLSv1.2 TLSv1.3
ciphers = "${ciphers}"
prefer-server-ciphers = off
ecdh-curve = "X25519:prime256v1:secp384r1"
# a WebSocket's upgrade is HTTP/1.1
alpn-protos = "http/1.1"

# the workers; the PEM is read as root
user = "stud"
group = "stud"
daemon = off
# nothing to staple: Let's Encrypt ended OCSP in 2025
ocsp-dir = ""
backlog = 1024
# also ends a client that takes nothing for as long, if built here
keepalive = 60
${studInstall === "source" ? "workers = auto\nbackend-connect-timeout = 5\nssl-handshake-timeout = 30\n" : "workers = 2\n"}`;
}
