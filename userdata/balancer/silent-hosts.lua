-- Closes the connections of a host that is silent, since nobody else tells their clients: one that hangs or has lost
-- its power sends no end. One that refuses has closed its own, or lets them end (drain), so it is left alone.
core.register_task(function()
  while true do
    for _, server in pairs(core.backends["apps"].servers) do
      local stats = server:get_stats()
      if stats["status"]:find("^DOWN") and stats["check_status"]:find("TOUT") then
        server:shut_sess()
      end
    end
    core.msleep(200)
  end
end)
