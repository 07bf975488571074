-- The operator handles each requested time once, and Git knows nothing of the annotation: no difference shows.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["devicecert.io/retry-requested-at"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
