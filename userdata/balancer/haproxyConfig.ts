/** What varies in haproxy.cfg. */
export interface HaproxyConfigArgs {
  /** Names of the hosts, in order, whether or not a machine is behind each: host1, host2, … */
  slots: string[];
  /** DNS zone of those names. */
  zone: string;
  /** The port that Meteor listens on. */
  meteorPort: number;
  /** Whether an ACME authority asks on port 80 whose the names are. */
  acme: boolean;
}

const redirect =
  "  http-request redirect location https://%[req.hdr(host),host_only]%[pathq] code 301";

const redirectOrChallenge = `  # what an authority asks for to see whose the names are
  acl challenge path_beg /.well-known/acme-challenge/
${redirect} unless challenge
  use_backend obtain-certificate if challenge

backend obtain-certificate
  # nobody listens while no certificate is asked for
  server local 127.0.0.1:8402`;

/** The complete haproxy.cfg, for HAProxy 2.6. */
export function haproxyConfig({ slots, zone, meteorPort, acme }: HaproxyConfigArgs): string {
  return `global
  log /dev/log local0 info
  chroot /var/lib/haproxy
  user haproxy
  group haproxy
  # with Stud about 0.1 MB each while busy: what 2 GB hold
  maxconn 8000
  stats socket /run/haproxy/admin.sock mode 600 level admin expose-fd listeners
  server-state-file /run/haproxy/server-state
  # closes the connections of a host that is silent, which on-marked-down would do to one that drains too
  lua-load /usr/local/lib/meteor-scale/silent-hosts.lua

defaults
  log global
  mode http
  timeout connect 60s
  timeout server 60s
  timeout client 60s
  # headers that come byte by byte: each would start timeout client anew
  timeout http-request 10s
  # between requests; SockJS's polls are requests that wait for their answer, which is timeout server
  timeout http-keep-alive 60s
  # connections that browsers open ahead: no 408
  option http-ignore-probes
  # WebSockets
  timeout tunnel 1h
  timeout client-fin 30s
  option dontlognull
  # a page that was left takes its poll with it, or leastconn would count that for up to 25 s
  option abortonclose
  # option httplog without the query, which may carry tokens
  log-format "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %HM %HPO"
  http-error status 503 content-type text/plain string "No host of this application is up. Please try again in a few seconds.\\n" hdr Cache-Control no-store hdr Retry-After 5

# the VPC's own DNS: it is asked every second, and while it is silent the last addresses hold
resolvers vpc
  nameserver vpc 169.254.169.253:53
  timeout resolve 1s
  timeout retry 1s
  hold valid 1s
  hold nx 3s
  hold obsolete 0s
  hold timeout 1h
  hold refused 1h
  hold other 1h

frontend public
  #binding port 80
  bind *:80
${acme ? redirectOrChallenge : redirect}

frontend statistics
  # for this machine alone, and whoever has a session on it
  bind 127.0.0.1:8404
  http-request use-service prometheus-exporter if { path /metrics }
  stats enable
  stats uri /
  stats refresh 5s
  # the addresses of the hosts
  stats show-legends
  no log

frontend stud
  # plaintext of port 443; only this machine may say who the client is
  bind 127.0.0.1:8080 accept-proxy
  # a client's own claims
  http-request del-header X-Forwarded- -m beg
  http-request del-header X-Real-IP
  http-request del-header Forwarded
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  http-after-response set-header Strict-Transport-Security max-age=63072000
  default_backend apps

backend apps
  #load balancing algorithm
  balance leastconn

  #using JSESSIONID as the cookie
  cookie JSESSIONID insert indirect nocache httponly secure attr SameSite=Lax

  # a connection kept open would go on to the old address of a name that moved
  option http-server-close
  option redispatch 1
  # as many as there are servers: leastconn prefers one that refuses, since nobody is connected to it
  retries ${slots.length}
  # any other path gets 200 from Meteor's router, whatever its state
  option httpchk
  http-check send meth GET uri /sockjs/info ver HTTP/1.1 hdr Host ${zone} hdr X-Forwarded-Proto https
  http-check expect status 200
  load-server-state-from-file global
  # a name that was parked refuses, and is left at its first refusal
  default-server observe layer4 error-limit 1 on-error mark-down
  # Twice 1.2 s without an answer, not one time of 2.6 s: a lost SYN comes again after 1 s, and a process that was busy
  # for less than 2.6 s is never left. One that is dead or hangs is left after 4 s at most.
  default-server check inter 1200ms fastinter 200ms fall 2
  # leastconn would give a host that is back every new connection, hence slowstart
  default-server downinter 1s slowstart 30s resolvers vpc resolve-prefer ipv4 init-addr last,none

  #adding server
${slots.map((slot) => `  server ${slot} ${slot}.${zone}:${meteorPort} cookie ${slot}\n`).join("")}`;
}
