# An apt of our own in a folder: any user gets Debian packages and unpacks them, and nothing is installed.
#
# Sourced by the scripts that need programs which a machine may not have; they bring `say` and `fail` (environment.sh)
# and choose the suites. The mirror, the proxy and the credentials are those of the system's own apt configuration.
#
#   private_apt APT amd64 bookworm                         once: an apt for that architecture, in the folder APT
#   unpack_packages APT DESTINATION openssh-server adb     those, with what they depend on
#   unpack_only APT DESTINATION libc6 libstdc++6           those alone
#
# For the machine's own architecture, what is installed already counts as there, and is no dependency that is unpacked. A
# package may name its suite: qemu-user/bookworm-backports. EDGEKIT_DEBIAN_MIRROR names another mirror than the system's.

# private_apt FOLDER ARCHITECTURE SUITE...: sets it up, and reads the suites' lists of packages
private_apt() {
  local folder=$1 architecture=$2 suite mirror
  shift 2
  need_debian
  mkdir -p "$folder"/{archives,lists}/partial
  # A copy, because apt wants a lock beside it.
  if [[ $architecture == "$(dpkg --print-architecture)" ]]; then
    cp /var/lib/dpkg/status "$folder/status"
  else
    : >"$folder/status"
  fi
  # The packages' own scripts never run, so neither do the hooks that other software put into apt's configuration.
  cat >"$folder/apt.conf" <<CONF
APT::Architecture "$architecture";
#clear APT::Architectures;
APT::Architectures { "$architecture"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
Dir::Cache "$folder";
Dir::Cache::Archives "$folder/archives";
Dir::Etc::SourceList "$folder/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$folder";
Dir::State::Lists "$folder/lists";
Dir::State::Status "$folder/status";
CONF
  : >"$folder/sources.list"
  for suite in "$@"; do
    mirror=$(mirror_of "$suite")
    echo "deb $(signed_by) $mirror $suite main" >>"$folder/sources.list"
  done
  run_apt "$folder" update
}

# unpack_packages FOLDER DESTINATION PACKAGE[/SUITE]...
unpack_packages() {
  local folder=$1 destination=$2
  shift 2
  run_apt "$folder" install --yes --download-only --reinstall "$@"
  unpack_archives "$folder" "$destination"
}

# unpack_only FOLDER DESTINATION PACKAGE[/SUITE]...
unpack_only() {
  local folder=$1 destination=$2
  shift 2
  (cd "$folder/archives" && run_apt "$folder" download "$@")
  unpack_archives "$folder" "$destination"
}

unpack_archives() {
  local package
  mkdir -p "$2"
  for package in "$1"/archives/*.deb; do
    dpkg-deb --extract "$package" "$2"
  done
}

need_debian() {
  local program
  for program in apt-get dpkg dpkg-deb; do
    command -v "$program" >/dev/null || fail 10 "$program is missing: this script needs Debian, or a container of it."
  done
}

# The mirror of a suite: the one from which the system gets Debian itself, which has the next suites beside it.
mirror_of() {
  local wanted=$1 release suite uri='' main=${EDGEKIT_DEBIAN_MIRROR:-} security=''
  while IFS= read -r release; do
    # 'MIRROR/dists/SUITE/InRelease' file size
    [[ $release =~ ^\'(.*)/dists/(.*)/InRelease\' ]] || continue
    uri=${BASH_REMATCH[1]} suite=${BASH_REMATCH[2]}
    case $suite in
      *-security) security=$uri ;;
      bullseye | bookworm | trixie | forky | duke | sid | *stable | testing) main=${main:-$uri} ;;
    esac
  done < <(apt-get update --print-uris 2>/dev/null)
  case $wanted in
    *-security) uri=$security ;;
    *) uri=$main ;;
  esac
  [[ -n $uri ]] || fail 10 "apt on this machine names no mirror of Debian's $wanted. Name one: export EDGEKIT_DEBIAN_MIRROR=http://…/debian"
  echo "$uri"
}

signed_by() {
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ ! -f $keys ]] || echo "[signed-by=$keys]"
}

# run_apt FOLDER ARGUMENT...: quiet unless it fails
run_apt() {
  local folder=$1
  shift
  # apt answers 0 with a warning where a list could not be had.
  if ! LC_ALL=C apt-get --config-file "$folder/apt.conf" --quiet --option APT::Update::Error-Mode=any "$@" \
    >"$folder/log" 2>&1; then
    grep -E '^(E|W|Err)' "$folder/log" >&2 || tail -n 5 "$folder/log" >&2
    fail 10 "apt could not get what is needed (above). Its mirror is the system's own, or the one in EDGEKIT_DEBIAN_MIRROR."
  fi
}
