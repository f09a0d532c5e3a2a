-- Closes the connections of a host that is silent, since nobody else tells their clients: one that hangs or has lost
-- its power sends no end. One that refuses has closed its own, or lets them end (drain), so it is left alone; so is
-- one whose name has moved within the last minute, as its connections lead to the machine that drains.
local addresses, moved = {}, {}

local function machine(address)
  return address and address:find("^%d") and not address:find("^127%.") and not address:find("^0%.0%.0%.0")
end

core.register_task(function()
  while true do
    for name, server in pairs(core.backends["apps"].servers) do
      local address = server:get_addr()
      if machine(addresses[name]) and addresses[name] ~= address then
        moved[name] = core.now().sec
      end
      addresses[name] = address
      local stats = server:get_stats()
      local silent = stats["status"]:find("^DOWN") and stats["check_status"]:find("TOUT")
      if silent and core.now().sec - (moved[name] or 0) > 60 then
        server:shut_sess()
      end
    end
    core.msleep(200)
  end
end)
