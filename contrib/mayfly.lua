-- Wireshark and tshark: the channel between Mayfly's host and its NIC (docs/channel.md), Ethernet frames of
-- type 0x88b5, as MAYFLY CAPTURE START HOST writes them.
--
--     wireshark -X lua_script:contrib/mayfly.lua host.pcap
--     tshark    -X lua_script:contrib/mayfly.lua -r host.pcap -Y mayfly
--
-- or copy it to the folder that Help > About Wireshark > Folders names for personal Lua plugins.

local mayfly = Proto("mayfly", "Mayfly host-NIC channel")

local HEADER_LEN = 24

local KINDS = {
  [1] = "HELLO", [2] = "LISTEN", [3] = "UNLISTEN", [4] = "ESTABLISHED", [5] = "SEGMENT",
  [6] = "CLOSE", [7] = "ABORT", [8] = "CLOSED", [9] = "ICMP_ERROR",
}
local FLAGS = {
  { 1, "REPLY" }, { 2, "IDLE" }, { 4, "FIRST_DATA" }, { 8, "PEER_FINISHED" },
  { 16, "CHECKSUM_GOOD" }, { 32, "CHECKSUM_NEEDED" }, { 64, "MORE" },
}
local POLICIES = { [0] = "at once", [1] = "with the first data" }
local STATUSES = { [0] = "request", [1] = "accepted", [2] = "table full" }
local REFUSALS = { [0] = "RST", [1] = "silence", [2] = "Redis error" }
local REASONS = {
  [1] = "the peer closed", [2] = "finished", [3] = "reset by the peer", [4] = "timed out", [5] = "unknown flow",
}

local f = {
  version = ProtoField.uint8("mayfly.version", "Version"),
  kind = ProtoField.uint8("mayfly.kind", "Kind", base.DEC, KINDS),
  flags = ProtoField.uint16("mayfly.flags", "Flags", base.HEX),
  epoch = ProtoField.uint32("mayfly.epoch", "Epoch of the receiver", base.HEX),
  slot = ProtoField.uint32("mayfly.flow.slot", "Flow slot"),
  generation = ProtoField.uint32("mayfly.flow.generation", "Flow generation"),
  handle = ProtoField.uint32("mayfly.handle", "Host handle"),
  len = ProtoField.uint16("mayfly.len", "Length behind"),
  own_epoch = ProtoField.uint32("mayfly.hello.epoch", "Own epoch", base.HEX),
  version_min = ProtoField.uint8("mayfly.hello.version_min", "Lowest version"),
  version_max = ProtoField.uint8("mayfly.hello.version_max", "Highest version"),
  queues = ProtoField.uint16("mayfly.hello.queues", "Queues"),
  news = ProtoField.uint32("mayfly.hello.news", "News before"),
  family = ProtoField.uint8("mayfly.family", "Family"),
  policy = ProtoField.uint8("mayfly.listen.policy", "Accept policy", base.DEC, POLICIES),
  port = ProtoField.uint16("mayfly.listen.port", "Port"),
  address_v4 = ProtoField.ipv4("mayfly.address", "Address"),
  address_v6 = ProtoField.ipv6("mayfly.address6", "Address"),
  status = ProtoField.uint8("mayfly.listen.status", "Status", base.DEC, STATUSES),
  backlog = ProtoField.uint32("mayfly.listen.backlog", "Backlog"),
  connections = ProtoField.uint32("mayfly.listen.connections", "Connections (0: no limit)"),
  refusal = ProtoField.uint8("mayfly.listen.refusal", "Refusal", base.DEC, REFUSALS),
  window = ProtoField.uint32("mayfly.window", "Window"),
  mss = ProtoField.uint16("mayfly.mss", "MSS"),
  local_port = ProtoField.uint16("mayfly.local_port", "Local port"),
  remote_port = ProtoField.uint16("mayfly.remote_port", "Remote port"),
  remote_mac = ProtoField.ether("mayfly.remote_mac", "Remote MAC"),
  snd_nxt = ProtoField.uint32("mayfly.snd_nxt", "SND.NXT"),
  rcv_nxt = ProtoField.uint32("mayfly.rcv_nxt", "RCV.NXT"),
  ts_recent = ProtoField.uint32("mayfly.ts_recent", "TS.Recent"),
  data_at = ProtoField.uint16("mayfly.data_at", "First data at"),
  rto = ProtoField.uint32("mayfly.rto_us", "RTO (µs)"),
  count = ProtoField.uint16("mayfly.closed.count", "Flows"),
  reason = ProtoField.uint8("mayfly.closed.reason", "Reason", base.DEC, REASONS),
}
mayfly.fields = f

local ip_dissector = Dissector.get("ip")
local ipv6_dissector = Dissector.get("ipv6")

local function address(tree, family, range)
  if family == 4 then
    tree:add(f.address_v4, range(0, 4))
  else
    tree:add(f.address_v6, range)
  end
end

-- How long the IP packet at the front of a range says that it is; nil when it is none.
local function packet_len(range)
  if range:len() < 20 then return nil end
  local version = range(0, 1):bitfield(0, 4)
  if version == 4 then return range(2, 2):uint() end
  if version == 6 and range:len() >= 40 then return range(4, 2):uint() + 40 end
  return nil
end

local function packet(range, pinfo, root)
  if range:len() == 0 then return end
  local dissector = range(0, 1):bitfield(0, 4) == 6 and ipv6_dissector or ip_dissector
  dissector:call(range:tvb(), pinfo, root)
end

-- Bodies: each returns where the IP packet begins, or nil when there is none.
local bodies = {}

bodies[1] = function(body, tree)
  tree:add_le(f.own_epoch, body(0, 4))
  tree:add(f.version_min, body(4, 1))
  tree:add(f.version_max, body(5, 1))
  tree:add_le(f.queues, body(6, 2))
  if body:len() >= 28 then
    tree:add_le(f.news, body(24, 4))
  end
end

bodies[2] = function(body, tree)
  tree:add(f.family, body(0, 1))
  tree:add(f.policy, body(1, 1))
  tree:add_le(f.port, body(2, 2))
  address(tree, body(0, 1):uint(), body(4, 16))
  tree:add_le(f.mss, body(20, 2))
  tree:add(f.status, body(23, 1))
  tree:add_le(f.window, body(24, 2))
  tree:add_le(f.backlog, body(28, 4))
  if body:len() >= 40 then
    tree:add_le(f.connections, body(32, 4))
    tree:add(f.refusal, body(36, 1))
  end
end
bodies[3] = bodies[2]

bodies[4] = function(body, tree)
  local family = body(0, 1):uint()
  tree:add(f.family, body(0, 1))
  address(tree:add(body(4, 16), "Local"), family, body(4, 16))
  address(tree:add(body(20, 16), "Remote"), family, body(20, 16))
  tree:add_le(f.local_port, body(36, 2))
  tree:add_le(f.remote_port, body(38, 2))
  tree:add_le(f.snd_nxt, body(40, 4))
  tree:add_le(f.rcv_nxt, body(44, 4))
  tree:add_le(f.window, body(48, 4))
  tree:add_le(f.mss, body(52, 2))
  tree:add(f.remote_mac, body(54, 6))
  tree:add_le(f.ts_recent, body(60, 4))
  tree:add_le(f.data_at, body(68, 2))
  return 72
end

bodies[5] = function() return 0 end

bodies[6] = function(body, tree)
  tree:add_le(f.window, body(0, 4))
  tree:add_le(f.rto, body(4, 4))
  tree:add_le(f.rcv_nxt, body(8, 4))
  tree:add_le(f.ts_recent, body(12, 4))
  -- Bodies may grow at their end: the packet begins where its length fits.
  for at = 16, 32, 4 do
    if body:len() > at and packet_len(body(at)) == body:len() - at then return at end
  end
end

bodies[7] = function(body, tree)
  tree:add_le(f.snd_nxt, body(0, 4))
  tree:add_le(f.rcv_nxt, body(4, 4))
end

bodies[8] = function(body, tree)
  tree:add_le(f.count, body(0, 2))
  for at = 4, body:len() - 16, 16 do
    local flow = tree:add(body(at, 16), string.format("Flow %d.%d: %s", body(at, 4):le_uint(),
      body(at + 4, 4):le_uint(), REASONS[body(at + 12, 1):uint()] or "?"))
    flow:add_le(f.slot, body(at, 4))
    flow:add_le(f.generation, body(at + 4, 4))
    flow:add_le(f.handle, body(at + 8, 4))
    flow:add(f.reason, body(at + 12, 1))
  end
end

bodies[9] = function() return 0 end

function mayfly.dissector(tvb, pinfo, root)
  if tvb:len() < HEADER_LEN then return 0 end
  local kind, flags = tvb(1, 1):uint(), tvb(2, 2):le_uint()
  local len = math.min(tvb(20, 2):le_uint(), tvb:len() - HEADER_LEN)
  local name = KINDS[kind] or "?"
  local set = {}
  for _, flag in ipairs(FLAGS) do
    if math.floor(flags / flag[1]) % 2 == 1 then set[#set + 1] = flag[2] end
  end
  local title = string.format("Mayfly %s flow %d.%d %s", name, tvb(8, 4):le_uint(), tvb(12, 4):le_uint(),
    table.concat(set, " "))
  local tree = root:add(mayfly, tvb(0, HEADER_LEN + len), title)
  tree:add(f.version, tvb(0, 1))
  tree:add(f.kind, tvb(1, 1))
  tree:add_le(f.flags, tvb(2, 2)):append_text(" " .. table.concat(set, " "))
  tree:add_le(f.epoch, tvb(4, 4))
  tree:add_le(f.slot, tvb(8, 4))
  tree:add_le(f.generation, tvb(12, 4))
  tree:add_le(f.handle, tvb(16, 4))
  tree:add_le(f.len, tvb(20, 2))
  local at
  if len > 0 and bodies[kind] then
    local body = tvb(HEADER_LEN, len)
    at = bodies[kind](body, tree)
    if at and at < len then packet(body(at), pinfo, root) end
  end
  -- What TCP says of the segment stands behind.
  pinfo.cols.protocol:prepend("MAYFLY/")
  pinfo.cols.info:prepend(name .. (#set > 0 and " " .. table.concat(set, ",") or "") .. " | ")
  if not at then
    pinfo.cols.protocol = "MAYFLY"
    pinfo.cols.info = title
  end
  return tvb:len()
end

DissectorTable.get("ethertype"):add(0x88b5, mayfly)
