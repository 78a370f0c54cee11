"""Seeds for fuzzing the configuration: values, and a file that uses most settings."""

WORDS = (
    b"1", b"-1", b"0.5", b"1e400", b"yes", b"[]", b"{}", b"[1, 2]", b'""', b'"\\ud800"',
    b'"\\e[2J"', b'"a\\nb"', b"~nobody/x", b"/dev/zero", b"/proc/self/mem", b"mic:",
    b"mic:3", b"file:~nobody/x", b"file:/dev/zero", b"file:" + b"x" * 5000, b"demo:",
    b"command:'", b"command:cat", b"http://[", b"http://\xc3\xa4.b/", b"https://a:99999/",
    b"env:HOME", b"credential:../x", b"file:/dev/zero", b"siren", b"all", b"9" * 30,
    b'"25:00"', b"Europe/../x", b"{a: {b: {c: {d: 1}}}}", b"a..b", b"../../x",
)  # fmt: skip

RICH_CONFIG = """\
state_dir: /nowhere
sources:
- {name: street, input: "command:cat /dev/null", sample_rate: 48000, channels: 2}
- {name: yard, input: "mic:USB", level_offset_db: 94.5}
ring_seconds: 30
model: {file: null, compute_device: auto, threads: 1}
detection:
  hop_frames: 48
  level_gate_dbfs: -70
  labels:
    siren: {onset_threshold: 0.7, offset_threshold: 0.5, min_duration_on_seconds: 1}
    gun_shot: {preset: impulsive, smoothing_hops: 2, margin: 0.1}
event_log: {path: events.jsonl, rotate_mib: 50, keep: 5}
store: {path: monitor.db, keep_days: 30, max_mib: 100}
alerts:
- name: operations
  labels: [siren, gun_shot]
  sources: [street]
  on: [onset, end]
  cooldown_seconds: 30
  max_per_hour: 10
  time_zone: Europe/Berlin
  quiet: [{begin: "22:00", end: "06:00", weekdays: [mon, tue]}]
  webhook:
    url: "https://example.org/hook"
    headers: {x-name: value}
    body: '{"text": "$label at $source"}'
- name: shell
  command: [cat, "-"]
- name: broker
  min_score: 0.5
  mqtt: {host: localhost, topic: a/b}
mqtt: {host: localhost, port: 1883, topic: sound-monitor}
heartbeat: {url: "http://localhost/beat", every_seconds: 60}
privacy: scores-only
clips: {path: clips, labels: [siren], before_seconds: 2}
"""
