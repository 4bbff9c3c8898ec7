-- Open a config with mistakes in Neovim, and write what it shows: problems, completion, hover. Read by test_neovim.py.
vim.lsp.start = vim.lsp.start or function(config) -- Neovim 0.7
  vim.lsp.buf_attach_client(0, vim.lsp.start_client(config))
end
vim.lsp.handlers["window/showMessageRequest"] = function()
  return vim.NIL
end
dofile("setup.lua")
vim.cmd("edit config.yaml")
vim.cmd("set filetype=yaml")

local function request(method, line, character)
  local position = { line = line, character = character }
  local params = { textDocument = vim.lsp.util.make_text_document_params(), position = position }
  local answers = vim.lsp.buf_request_sync(0, method, params, 30000) or {}
  for _, answer in pairs(answers) do
    return answer.result
  end
end

vim.wait(tonumber(vim.env.PATIENCE), function()
  return #vim.diagnostic.get(0) >= 2
end, 100)
local shown = {}
for _, each in ipairs(vim.diagnostic.get(0)) do
  table.insert(shown, { line = each.lnum + 1, column = each.col + 1, message = each.message })
end
local labels, hover = {}, nil
vim.wait(20000, function()
  hover = request("textDocument/hover", 2, 43)
  return hover ~= nil and hover.contents.value:find("default") ~= nil
end, 500)
for _, item in ipairs(request("textDocument/completion", 2, 14).items) do
  table.insert(labels, item.label)
end
local file = io.open("shown.json", "w")
file:write(vim.fn.json_encode({ diagnostics = shown, labels = labels, hover = hover and hover.contents.value or "" }))
file:close()
vim.cmd("qall!")
