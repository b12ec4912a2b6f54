# What scenarios check with. Each check is one line on the console; the host counts them.
# A sentence that starts with "@pass" or "@fail" is a result, "@stop" asks the host to look.

failures=0

# check SENTENCE COMMAND...: the command must succeed.
check() {
  sentence=$1
  shift
  if detail=$("$@" 2>&1); then
    echo "@pass $sentence"
  else
    failures=$((failures + 1))
    echo "@fail $sentence: $(echo "$detail" | tail -n 3 | tr '\n' ' ')"
  fi
}

# equal GOT EXPECTED
equal() {
  [ "$1" = "$2" ] || { echo "got '$1', expected '$2'"; return 1; }
}

# fails_with STATUS TEXT COMMAND...: the command must end with that status and say that text.
fails_with() {
  status=$1 text=$2
  shift 2
  said=$("$@" 2>&1)
  got=$?
  echo "exit status $got: $said"
  [ "$got" = "$status" ] && echo "$said" | grep -qiE "$text"
}

# waits SPEC TEXT: a daemon of its own lists that pool, called other, as waiting for memory, for that cause.
waits() {
  genpoold --socket /run/second.socket --attach "$1" 2> /run/second.log &
  second=$!
  within 20 genpoolctl pool show other --socket /run/second.socket --json
  said=$(genpoolctl pool show other --socket /run/second.socket --json)
  kill -TERM $second
  wait $second
  ended=$?
  echo "exit status $ended: $said $(cat /run/second.log)"
  [ "$ended" = 0 ] && echo "$said" | grep -q '"waiting"' && echo "$said" | grep -qiE "$2"
}

# refused RULE TEXT COMMAND...: the same, and of all attach rules it is this one that is named.
refused() {
  rule=$1 text=$2
  shift 2
  fails_with 1 "$text" "$@" || return 1
  equal "$(echo "$said" | sed -n 's/^  \([a-z-]*\): .*/\1/p')" "$rule"
}

# within SECONDS COMMAND...: the command must succeed before the time is up.
within() {
  deadline=$(($(uptime_seconds) + $1))
  shift
  until "$@"; do
    [ "$(uptime_seconds)" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

uptime_seconds() {
  cut -d. -f1 /proc/uptime
}

# stop NAME: lets the host look at the machine as it is now.
stop() {
  rm -f "/host/$1.seen"
  echo "@stop $1"
  within 30 test -e "/host/$1.seen" || exit 2
}

# command_register BDF: the PCI COMMAND register (PCI 3.0, 6.2.2), four hexadecimal digits.
command_register() {
  hexdump -s 4 -n 2 -e '1/2 "%04x"' "/sys/bus/pci/devices/$1/config"
}

# state BDF: what opening a device changes.
state() {
  device=/sys/bus/pci/devices/$1
  echo "override $(cat $device/driver_override), command $(command_register "$1"), enable $(cat $device/enable)"
}

# behind PORT: the device behind a root port.
behind() {
  basename "/sys/bus/pci/devices/$1"/????:??:??.?
}

# leave STATUS: ends the machine. QEMU exits with ((STATUS + 16) << 1) | 1, so 33 is a pass.
leave() {
  sync
  printf "\\$(printf %o $(($1 + 16)))" | dd of=/dev/port bs=1 seek=$((0xf4)) 2>/dev/null
}
