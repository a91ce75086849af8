-- The health of a BitcoinNetwork for Argo CD: see docs/operating.md, "Argo CD and Flux".
local generation = obj.metadata.generation
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= generation then
  return { status = "Progressing", message = "the controller has yet to see this spec" }
end

local is = {}
for _, condition in ipairs(status.conditions) do
  -- An observation of an older spec says nothing of this one.
  if condition.observedGeneration == generation and condition.status == "True" then
    is[condition.type] = condition
  elseif condition.type == "Ready" then
    is.NotReady = condition
  end
end

if is.Stalled ~= nil then -- somebody has to act, even if the nodes work
  return { status = "Degraded", message = is.Stalled.reason .. ": " .. is.Stalled.message }
end
if is.Ready ~= nil and is.Reconciling ~= nil then -- all is well, but a rotation of credentials waits
  return { status = "Suspended", message = is.Reconciling.message }
end
if is.Ready ~= nil then
  return { status = "Healthy", message = is.Ready.message }
end
local why = is.NotReady
return { status = "Progressing", message = why ~= nil and (why.reason .. ": " .. why.message) or "" }
