#!/bin/bash
# What the journal has since the last time, in InfluxDB's line protocol, for Telegraf. Nothing that is older than 20
# hours, such as what an image or a machine that was off brings: CloudWatch refuses what is a day apart, all of it.
set -euo pipefail
journalctl --cursor-file="$STATE_DIRECTORY/journal-cursor" --output=short-unix --no-hostname --quiet |
  awk -v oldest="$(($(date +%s) - 72000))" '
    # Lines after the first one of an entry are indented.
    /^[0-9]+\.[0-9]+ / {
      print_entry()
      time = $1
      sub(/\./, "", time)
      sub(/^[^ ]+ /, "")
      entry = $0
      next
    }
    { entry = entry "\n" $0 }
    END { print_entry() }
    function print_entry() {
      if (time == "" || substr(time, 1, 10) < oldest) return
      gsub(/\\/, "\\\\\\\\", entry)
      gsub(/"/, "\\\"", entry)
      print "journal line=\"" entry "\" " time "000"
    }'
